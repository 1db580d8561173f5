//! A terminal that nobody sits at.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A terminal of this width: the end that shows it, and the one that programs have.
///
/// # Errors
///
/// Where the system has none.
pub fn terminal(columns: u16) -> io::Result<(File, File)> {
    let shown = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&shown)?;
    unlockpt(&shown)?;
    let name = ptsname(&shown, Vec::new())?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed());
    let of_programs = options.open(OsStr::from_bytes(name.as_bytes()))?;
    tcsetwinsize(&of_programs, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((shown.into(), of_programs))
}
