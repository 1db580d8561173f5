//! Network namespaces that last as long as this process, and programs in them.

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpid, getppid, gettid};

use super::Error;

type Job = Box<dyn FnOnce() + Send>;

/// The first argument that makes a program of this crate call [`become_program`].
pub const EXEC: &str = "exec-in-lab";

/// A network namespace without a name, and a thread that lives in it. What the thread starts lives there too.
pub struct Namespace {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// An empty namespace: no interface that is up, no route.
    ///
    /// # Errors
    ///
    /// Where the system refuses, as it does to everybody but root.
    pub fn new() -> io::Result<Namespace> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let (entered, has_entered) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let result = unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
            let is_inside = result.is_ok();
            if entered.send(result).is_ok() && is_inside {
                waiting.iter().for_each(|job| job());
            }
        });
        has_entered.recv().map_err(io::Error::other)??;
        Ok(Namespace { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Does something in the namespace: sockets and threads made there belong to it.
    ///
    /// # Errors
    ///
    /// Where that panicked.
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
        let (done, result) = mpsc::channel();
        let job = move || {
            // The other end waits for it.
            let _ = done.send(job());
        };
        let jobs = self.jobs.as_ref().ok_or("the namespace is gone")?;
        jobs.send(Box::new(job)).map_err(|_| "the namespace is gone")?;
        Ok(result.recv()?)
    }

    /// Runs `ip` in the namespace, with these arguments.
    ///
    /// # Errors
    ///
    /// Where there is no such program, or it refuses.
    pub fn ip(&self, arguments: &str) -> Result<(), Error> {
        let mut ip = Command::new("ip");
        ip.args(arguments.split(' ')).stdin(Stdio::null());
        let said = self.run(move || ip.output())??;
        match said.status.success() {
            true => Ok(()),
            false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&said.stderr).trim()).into()),
        }
    }

    /// Two namespaces with these addresses, joined by a veth pair: an interface `wire` in each. Needs `ip`.
    ///
    /// # Errors
    ///
    /// As for [`Namespace::new`] and [`Namespace::ip`], and where the kernel has no veth.
    pub fn pair(addresses: [Ipv4Addr; 2]) -> Result<[Namespace; 2], Error> {
        let new = || Namespace::new().map_err(|error| format!("network namespace: {error}"));
        let pair = [new()?, new()?];
        let other = pair[1].run(|| format!("/proc/{}/task/{}/ns/net", getpid(), gettid()))?;
        pair[0].ip(&format!("link add wire mtu 1500 type veth peer name wire mtu 1500 netns {other}"))?;
        for (namespace, address) in pair.iter().zip(addresses) {
            namespace.ip(&format!("address add {address}/24 dev wire"))?;
            namespace.ip("link set wire up")?;
            namespace.ip("link set lo up")?;
        }
        Ok(pair)
    }

    /// Starts what [`command`] made, in the namespace. It is killed when the namespace is dropped or this process ends.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn spawn(&self, mut command: Command) -> Result<Child, Error> {
        Ok(self.run(move || command.spawn())??)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A job that panicked was told to who gave it.
            let _ = thread.join();
        }
    }
}

/// A command that runs a program by way of this one, so that it ends with the thread that starts it.
///
/// # Errors
///
/// Where the path of this program is not known.
pub fn command(program: &Path) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(EXEC).arg(std::process::id().to_string()).arg(program).stdin(Stdio::null());
    Ok(command)
}

/// Becomes the program of a [`command`]: `arguments` are those after [`EXEC`]. Returns only why it cannot.
pub fn become_program(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    let parent = arguments.next().and_then(|parent| parent.to_str()?.parse().ok());
    let Some(program) = arguments.next() else {
        return io::ErrorKind::InvalidInput.into();
    };
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL).and_then(|()| SigSet::empty().thread_set_mask())
    {
        return error.into();
    }
    // It may have ended before it could be told to take this one with it.
    if parent != Some(getppid().as_raw()) {
        return io::Error::other("started by nobody");
    }
    Command::new(program).args(arguments).exec()
}
