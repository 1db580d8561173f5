//! How a tool gets onto the network: it gives up what it does not need, takes over signals, and opens its socket, in this order.

use cjp2p_io::event_loop::EventLoop;
use cjp2p_io::listen::Listen;
use cjp2p_io::sandbox::{Confinement, Sandbox};
use cjp2p_io::signals::Signals;
use cjp2p_io::state_dir::StateDir;
use nix::sys::signal::{SigSet, Signal};

use super::args::{ListenArgs, SandboxArgs};
use super::error::ToolError;

/// What a tool says of itself before it goes onto the network.
#[derive(Debug)]
pub struct NetworkStart<'a> {
    /// The tool's name.
    pub tool: &'static str,
    /// Whether to confine the process.
    pub sandbox: &'a SandboxArgs,
    /// What it needs from now on.
    pub needs: Sandbox,
    /// The signals that are read from now on, not suffered.
    pub signals: &'a [Signal],
    /// Where to listen.
    pub listen: &'a ListenArgs,
    /// Where to listen if nothing is said.
    pub default: Listen,
    /// Where a port of its own is kept.
    pub state: Option<&'a StateDir>,
}

impl NetworkStart<'_> {
    /// Goes onto the network. To be called before the first thread is started, for threads inherit confinement and blocked signals, and
    /// after the last process is. Gives also what the kernel confined, `None` where nothing was to be.
    ///
    /// # Errors
    ///
    /// Where the system refuses signals, or there is no such socket to be had.
    pub fn open(self) -> Result<(EventLoop, Option<Confinement>), ToolError> {
        let confinement = self.sandbox.confine(self.needs);
        let failed =
            |what: &'static str| move |error: std::io::Error| ToolError::failure(format!("{what}: {error}"));
        let signals = Signals::take_over(self.signals).map_err(failed("signals"))?;
        let port = self.listen.open(self.default, self.tool, self.state)?;
        let event_loop = EventLoop::new(port, Some(signals)).map_err(failed("event loop"))?;
        Ok((event_loop, confinement))
    }
}

/// Gives up reading signals at the end of the work: from here on a second INT or TERM ends the process at once. A second HUP does not:
/// where a terminal goes, its shell sends one and the system another.
pub fn release_signals() {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    // Should that fail, a second signal is simply not heard.
    let _ = signals.thread_unblock();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_hup_of_a_terminal_that_goes_does_not_cut_short_what_is_saved() {
        let taken: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        taken.thread_block().unwrap();
        release_signals();
        let blocked = SigSet::thread_get_mask().unwrap();
        let is_blocked = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].map(|one| blocked.contains(one));
        assert_eq!(is_blocked, [false, false, true]);
    }
}
