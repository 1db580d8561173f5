//! How others see what goes on: by a socket in the state folder, a file for Prometheus, and what is told to systemd.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use cjp2p_cli::ToolError;
use cjp2p_io::names::shown;
use cjp2p_io::readiness::{Interest, Readiness};
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::state_dir::{StateDir, folder_of, replace_for_all};
use cjp2p_io::status_socket::StatusSocket;
use cjp2p_io::supervisor::Supervisor;
use cjp2p_wire::time::Time;

use crate::status::Status;

/// What the names of all sockets of servers begin with.
pub(crate) const SOCKETS: &str = "serve-";
/// How often the file for Prometheus is replaced.
const METRICS_EVERY: Duration = Duration::from_secs(15);
/// How often the line for systemd is made anew.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// A rate is of so much time at least.
const RATE_OVER: Duration = Duration::from_secs(1);

/// What is opened before the process is confined.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    socket: Option<StatusSocket>,
    supervisor: Supervisor,
    metrics: Option<PathBuf>,
}

impl Prepared {
    /// Listens at the socket of this `job`, if there is one: nobody else does who follows the rules, as it goes with a lock of that name.
    ///
    /// # Errors
    ///
    /// Where metrics are to be written into a folder that is not there.
    pub(crate) fn of(
        state: Option<&StateDir>,
        job: Option<&str>,
        metrics: Option<&Path>,
    ) -> Result<Prepared, ToolError> {
        let state = state.filter(|state| state.is_writable());
        let socket = state.zip(job).and_then(|(state, job)| {
            let socket = StatusSocket::listen(state, job);
            socket.inspect_err(|error| log::warn!("nobody can ask for the status: {error}")).ok()
        });
        let supervisor = Supervisor::from_environment();
        let supervisor = supervisor.inspect_err(|error| log::warn!("NOTIFY_SOCKET: {error}"));
        let is_there = |path: &&Path| folder_of(path).is_dir() && path.file_name().is_some();
        if let Some(path) = metrics.filter(|path| !is_there(path)) {
            let message = format!("--metrics: {}: there is no such folder", shown(path));
            return Err(ToolError::failure(message));
        }
        Ok(Prepared {
            socket,
            supervisor: supervisor.unwrap_or_default(),
            metrics: metrics.map(Path::to_owned),
        })
    }

    /// What the process needs for it.
    pub(crate) fn sandbox(&self, sandbox: Sandbox) -> Sandbox {
        let sandbox = sandbox.accept_at(self.socket.as_ref().map(StatusSocket::descriptor));
        match &self.metrics {
            Some(path) => sandbox.write(folder_of(path)),
            None => sandbox,
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Insight {
    socket: Option<StatusSocket>,
    supervisor: Supervisor,
    /// To the thread that writes the file.
    metrics: Option<SyncSender<String>>,
    metrics_at: Time,
    status_at: Time,
    alive_at: Time,
    rate: Sampled,
    /// What is waited for, and as what.
    watched: Option<(Readiness, u64)>,
    /// When to wait for the socket again, where there were no descriptors to take a connection.
    listen_at: Time,
}

/// What a counter was, and how fast it went on until then.
#[derive(Clone, Copy, Debug, Default)]
struct Sampled {
    at: Time,
    count: u64,
    rate: u64,
}

impl Sampled {
    /// What it is now, if that is some time later.
    fn on(self, now: Time, count: u64) -> Sampled {
        let passed = now.since(self.at);
        if passed < RATE_OVER {
            return self;
        }
        let rate = count.saturating_sub(self.count) as f64 / passed.as_secs_f64();
        Sampled { at: now, count, rate: rate as u64 }
    }
}

impl Insight {
    /// # Errors
    ///
    /// The system has no thread left.
    pub(crate) fn start(prepared: Prepared, now: Time) -> io::Result<Insight> {
        let Prepared { socket, supervisor, metrics } = prepared;
        let is_due = |has: bool| if has { now } else { Time::NEVER };
        Ok(Insight {
            metrics_at: is_due(metrics.is_some()),
            status_at: is_due(supervisor.is_there()),
            alive_at: is_due(supervisor.every().is_some()),
            metrics: metrics.map(write_metrics).transpose()?,
            rate: Sampled { at: now, ..Sampled::default() },
            watched: None,
            listen_at: Time::NEVER,
            socket,
            supervisor,
        })
    }

    /// Has the socket end the wait of who waits for `set`.
    ///
    /// # Errors
    ///
    /// The system has no room for it.
    pub(crate) fn watch(&mut self, set: &Readiness, token: u64) -> io::Result<()> {
        self.watched = Some((set.clone(), token));
        self.socket.as_ref().map_or(Ok(()), |socket| set.add(socket, token, Interest::READ))
    }

    /// When [`Insight::turn`] has something to do.
    pub(crate) fn due(&self) -> Time {
        self.metrics_at.min(self.status_at).min(self.alive_at).min(self.listen_at)
    }

    /// The service does what it is for.
    pub(crate) fn is_ready(&self) {
        self.supervisor.is_ready();
    }

    /// It looks at everything again. That takes its time, and it serves meanwhile.
    pub(crate) fn is_reloading(&self) {
        self.supervisor.is_reloading();
        self.supervisor.is_ready();
    }

    /// It ends.
    pub(crate) fn is_stopping(&self) {
        self.supervisor.is_stopping();
    }

    /// Bytes sent in a second, lately, where `sent` is how many it was in all.
    pub(crate) fn rate(&self, now: Time, sent: u64) -> u64 {
        self.rate.on(now, sent).rate
    }

    /// Says how it goes to those who want to know it now: `ready` where somebody may have connected. Does not wait.
    pub(crate) fn turn(&mut self, now: Time, sent: u64, ready: bool, status: impl Fn(&Insight) -> Status) {
        self.rate = self.rate.on(now, sent);
        if now >= self.alive_at {
            self.alive_at = self.supervisor.every().map_or(Time::NEVER, |every| now + every);
            self.supervisor.is_alive();
        }
        if now >= self.status_at {
            self.status_at = now + STATUS_EVERY;
            let line = status(self).in_short();
            self.supervisor.set_status(&line);
        }
        if now >= self.metrics_at {
            self.metrics_at = now + METRICS_EVERY;
            if let Some(writer) = &self.metrics {
                // Where the disk is so slow, there is another time.
                let _ = writer.try_send(status(self).to_metrics());
            }
        }
        let Some((socket, (set, token))) = self.socket.as_ref().zip(self.watched.as_ref()) else { return };
        if now >= self.listen_at {
            self.listen_at = Time::NEVER;
            if let Err(error) = set.add(socket, *token, Interest::READ) {
                log::warn!("nobody can ask for the status any more: {error}");
            }
        }
        let Some(Err(error)) = ready.then(|| socket.answer(|| status(self).to_json().into_bytes())) else {
            return;
        };
        // Otherwise it would end each wait.
        log::info!("status: {error}");
        if set.remove(socket).is_ok() {
            self.listen_at = now + STATUS_EVERY;
        }
    }
}

/// A thread that replaces the file by what it is sent. What it cannot write it says once, until it can again.
fn write_metrics(path: PathBuf) -> io::Result<SyncSender<String>> {
    let (sender, texts) = mpsc::sync_channel::<String>(1);
    thread::Builder::new().name("metrics".into()).spawn(move || {
        let mut is_told = false;
        for text in texts {
            let written = replace_for_all(&path, text.as_bytes());
            if let Err(error) = &written
                && !is_told
            {
                log::warn!("--metrics: {error}");
            }
            is_told = written.is_err();
        }
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let at = |ms| Time::from_millis(ms);
        let sampled = Sampled { at: at(1000), count: 100, rate: 5 };
        assert_eq!(sampled.on(at(1500), 10_100).rate, 5, "too early to tell");
        let later = sampled.on(at(3000), 10_100);
        assert_eq!((later.rate, later.count), (5000, 10_100));
        assert_eq!(later.on(at(13_000), 10_100).rate, 0);
    }
}
