//! Signals as something to wait for, so that a tool can save what it has and then end by the signal itself.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that no longer interrupt but are read from a descriptor.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Takes over these signals. Call it before the first thread starts: threads inherit what is blocked.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub fn take_over(signals: &[Signal]) -> io::Result<Signals> {
        let mask: SigSet = signals.iter().copied().collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
        let descriptor = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { descriptor })
    }

    /// The next signal that came, if any.
    ///
    /// # Errors
    ///
    /// Where the descriptor cannot be read.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let info = self.descriptor.read_signal()?;
        Ok(info.and_then(|info| Signal::try_from(info.ssi_signo as i32).ok()))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The signals that end a tool: INT, TERM, and HUP unless it is ignored, as `nohup` has it. A signal that is read from a descriptor
/// arrives even where it is ignored. To be called before the process is confined, which hides what is ignored.
pub fn ending() -> Vec<Signal> {
    let mut signals = vec![Signal::SIGINT, Signal::SIGTERM];
    if !is_ignored(Signal::SIGHUP) {
        signals.push(Signal::SIGHUP);
    }
    signals
}

fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal as u32 - 1) & 1 == 1)
}

/// Ends the process by `signal`, so that its parent sees the reason. Does not return where the signal ends a process. A tool has what
/// it printed written first.
pub fn end_by(signal: Signal) {
    let mask: SigSet = [signal].into_iter().collect();
    // Nothing can be done where the system refuses either of them: the caller exits in the ordinary way.
    let _ = raise(signal);
    let _ = sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&mask), None);
}
