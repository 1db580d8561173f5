//! A port of the router, so that others reach this node from outside.
//!
//! The program `cjp2p-router` talks with the router: that takes TCP, which the server gives up. It is a package of its own, so
//! that its many dependencies are not the server's. Here is the server's end of the pipes between them.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_cli::args::SandboxArgs;
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names;
use cjp2p_io::state_dir::about;
use serde::Deserialize;

/// The program that asks.
const PROGRAM: &str = "cjp2p-router";
/// For how long the port is asked for: should nobody be able to give it back, the router gives it to others after that.
const LIFETIME_SECONDS: u32 = 3600;
/// How long to wait at the end for the port to be given back. The helper goes on without us.
const TIMEOUT_AT_THE_END: Duration = Duration::from_secs(2);
/// A longer line is not the helper's.
const MAX_LINE: u64 = 4096;
/// So much of what a router says is told, in characters.
const MAX_TOLD: usize = 300;

/// What came of asking: what the helper says, as a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// What comes to this port of the router, and of this address if it told it, is passed on to this node.
    Mapped { address: Option<IpAddr>, port: NonZeroU16 },
    /// There is none, and why.
    Failed(String),
}

/// A helper that waits to be told for which port to ask. It ends when this is dropped.
pub(crate) struct Helper {
    child: Child,
    commands: ChildStdin,
    outcomes: ChildStdout,
}

impl Helper {
    /// Starts it for the router at `gateway`. To be called before this process is confined: then it may not.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] where `cjp2p-router` is not installed; others where it cannot be started.
    pub(crate) fn start(gateway: Ipv4Addr, sandbox: &SandboxArgs) -> io::Result<Helper> {
        let program = program()?;
        let mut command = Command::new(&program);
        command.arg(gateway.to_string());
        if sandbox.no_sandbox {
            command.arg("--no-sandbox");
        }
        // Nothing in the environment, such as a proxy, shall lead it elsewhere. What it has to say it says to us only.
        command
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| about(&program, error))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(commands), Some(outcomes)) => Ok(Helper { child, commands, outcomes }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Has the router asked for its port `port`, and then again and again; `waker` is used whenever there is news.
    ///
    /// # Errors
    ///
    /// Where there is no thread to be had.
    pub(crate) fn ask_for(mut self, port: NonZeroU16, waker: Waker) -> io::Result<Router> {
        // If it has ended, its outcomes say so.
        let _ = writeln!(self.commands, "{port} {LIFETIME_SECONDS}");
        let (sender, outcomes) = mpsc::channel();
        let listen = move || listen(self.outcomes, &sender, &waker);
        thread::Builder::new().name("router".into()).spawn(listen)?;
        Ok(Router { outcomes, commands: Some(self.commands), child: self.child })
    }
}

/// Where the program is: beside this one, else in one of the folders of `PATH`.
fn program() -> io::Result<PathBuf> {
    let beside = env::current_exe().ok().and_then(|this| this.parent().map(PathBuf::from));
    let path = env::var_os("PATH").unwrap_or_default();
    // The helper is started from another folder, where a relative name would mean something else.
    let folders = beside.into_iter().chain(env::split_paths(&path).filter(|folder| folder.is_absolute()));
    let found = folders.map(|folder| folder.join(PROGRAM)).find(|program| program.is_file());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{PROGRAM} is not installed")))
}

/// Passes on what the helper says. It has read what a router sent, so it is not believed to be what it should be.
fn listen(outcomes: ChildStdout, sender: &Sender<Outcome>, waker: &Waker) {
    let mut lines = BufReader::new(outcomes);
    let mut next = || {
        let mut line = Vec::new();
        lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice(&line).ok()
    };
    let ended = || Outcome::Failed("the process that talks with it has ended".into());
    loop {
        let outcome = next();
        let is_last = outcome.is_none();
        // Nobody listens any more only at the end.
        let _ = sender.send(outcome.unwrap_or_else(ended));
        waker.wake();
        if is_last {
            return;
        }
    }
}

/// See the [module](self).
pub(crate) struct Router {
    outcomes: Receiver<Outcome>,
    /// Dropped at the end, which the helper notices.
    commands: Option<ChildStdin>,
    child: Child,
}

impl Router {
    /// What changed since. Nothing in it acts on a terminal.
    pub(crate) fn news(&self) -> impl Iterator<Item = Outcome> + '_ {
        self.outcomes.try_iter().map(|outcome| match outcome {
            Outcome::Failed(why) => Outcome::Failed(beginning(&names::shown(why))),
            mapped @ Outcome::Mapped { .. } => mapped,
        })
    }
}

impl Drop for Router {
    /// Has the port given back.
    fn drop(&mut self) {
        self.commands = None;
        let until = Instant::now() + TIMEOUT_AT_THE_END;
        // What it says of its end comes from its thread, which then ends too.
        while self.outcomes.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
        let _ = self.child.try_wait();
    }
}

/// As much of a text as is told.
fn beginning(text: &str) -> String {
    text.chars().take(MAX_TOLD).collect()
}

/// The router of the default route, as the kernel knows it. To be called before the process is confined.
pub(crate) fn default_gateway() -> Option<Ipv4Addr> {
    gateway_in(&fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway of the best default route in a table as in `/proc/net/route`.
fn gateway_in(routes: &str) -> Option<Ipv4Addr> {
    const UP_BY_GATEWAY: u32 = 3;
    let gateway = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, destination, gateway, flags, _, _, metric, mask, ..] = &fields[..] else { return None };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let is_default = hex(destination)? == 0 && hex(mask)? == 0;
        let is_usable = hex(flags)? & UP_BY_GATEWAY == UP_BY_GATEWAY;
        // The bytes of the address are in the order of the network, and shown as a number of this machine.
        let address = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        (is_default && is_usable).then_some((metric.parse::<u32>().ok()?, address))
    };
    routes.lines().filter_map(gateway).min().map(|(_, address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_gateway_of_the_best_default_route_is_found() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      wlan0\t00000000\t0200A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                      eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                      tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n\
                      eth0\t0001A8C0\t0901A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                      torn\t0000\n";
        assert_eq!(gateway_in(routes), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(gateway_in("Iface\tDestination\n"), None);
    }
}
