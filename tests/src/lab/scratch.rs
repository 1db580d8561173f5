//! Folders that vanish with those who use them.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cjp2p_io::signals::{Signals, end_by};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::Error;

/// How often a signal tries to remove the folder: a program that still writes may put files into it meanwhile.
const ATTEMPTS: u32 = 10;

/// A fresh folder below `parent`. It is removed when dropped, and when INT, TERM or HUP ends the process. Call this before
/// the first thread starts.
///
/// # Errors
///
/// Where it cannot be made, or the signals cannot be had.
pub fn folder(parent: &Path, prefix: &str) -> Result<tempfile::TempDir, Error> {
    let signals = Signals::take_over(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])?;
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
    remove_at_signal(signals, folder.path().to_path_buf());
    Ok(folder)
}

/// A fresh folder in memory where there is such a place: what is flushed to a disk takes long there. It is removed when dropped.
///
/// # Errors
///
/// Where it cannot be made.
pub fn in_memory() -> io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

/// Waits for a signal, and ends the process by it. Namespaces and programs end with the process by themselves.
fn remove_at_signal(signals: Signals, folder: PathBuf) {
    std::thread::spawn(move || {
        let mut waiting = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        loop {
            // An interrupted wait is waited again.
            let _ = poll(&mut waiting, PollTimeout::NONE);
            if let Ok(Some(signal)) = signals.next() {
                for _ in 0..ATTEMPTS {
                    // What cannot be removed stays in the folder for temporary files.
                    let _ = std::fs::remove_dir_all(&folder);
                    if !folder.exists() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                end_by(signal);
                std::process::exit(1);
            }
        }
    });
}
