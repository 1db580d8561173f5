//! A line at the bottom of a terminal that changes in place, with other lines written above it.

use std::io;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;

use super::stderr;

/// What is on the screen. Whoever writes there holds this.
static SHOWN: Mutex<Option<String>> = Mutex::new(None);

/// Back to the beginning of the line, and nothing from there on.
const CLEAR: &str = "\r\x1b[K";
/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
/// Somebody who writes to a terminal that is stopped holds the line; nobody waits longer for it.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// A bar of fewer columns says nothing.
const LEAST_BAR: usize = 10;

/// Shows a bar of `fraction`, if that is known, and what is told beside it, in one line of the terminal. Of `parts` the first count
/// most: those that have no room are left out.
pub(super) fn draw(fraction: Option<f64>, parts: &[String]) {
    let line = line(fraction, parts, columns());
    // Where another thread writes just now, the next time will do.
    let Ok(mut shown) = SHOWN.try_lock() else { return };
    stderr::show(format!("\r{line}\x1b[K").as_bytes());
    *shown = Some(line);
}

/// Takes it off the screen.
pub(super) fn clear() {
    let shown = lock().and_then(|mut shown| shown.take());
    if shown.is_some() {
        stderr::show(CLEAR.as_bytes());
    }
}

/// Takes it off the screen for good, whoever writes there at present: the process ends.
pub fn clear_at_once() {
    stderr::show(CLEAR.as_bytes());
}

/// Runs `write`, which writes to the terminal, with the bar out of the way.
pub fn around_the_bar<R>(write: impl FnOnce() -> R) -> R {
    let shown = lock();
    let line = shown.as_ref().and_then(|shown| shown.as_deref());
    if line.is_some() {
        stderr::show(CLEAR.as_bytes());
    }
    let result = write();
    if let Some(line) = line {
        stderr::show(line.as_bytes());
    }
    result
}

fn lock() -> Option<MutexGuard<'static, Option<String>>> {
    let start = Instant::now();
    loop {
        match SHOWN.try_lock() {
            Ok(shown) => return Some(shown),
            Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_TIMEOUT => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

fn columns() -> usize {
    let found = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if found == 0 { COLUMNS } else { found }
}

/// The last column stays free: many terminals begin a new line after it.
fn line(fraction: Option<f64>, parts: &[String], columns: usize) -> String {
    let room = columns.saturating_sub(1);
    let mut text = String::new();
    for part in parts {
        let comma = if text.is_empty() { "" } else { ", " };
        if text.len() + comma.len() + part.len() > room {
            break;
        }
        text += comma;
        text += part;
    }
    if text.is_empty() {
        text = parts.first().into_iter().flat_map(|part| part.chars()).take(room).collect();
    }
    // Brackets and a blank.
    let bar = room.saturating_sub(text.len() + 3);
    match fraction {
        Some(fraction) if bar >= LEAST_BAR => {
            let full = (fraction.clamp(0.0, 1.0) * bar as f64) as usize;
            let tip = if full < bar { ">" } else { "" };
            format!("[{}{tip}{}] {text}", "=".repeat(full), " ".repeat(bar - full - tip.len()))
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<String> {
        ["42% 10.5 MiB of 25.0 MiB", "1.2 MiB/s", "12s left", "3 sources"].map(String::from).into()
    }

    #[test]
    fn a_line_is_shorter_than_the_terminal_is_wide_whatever_that_is() {
        for columns in 1..200 {
            for fraction in [None, Some(0.0), Some(0.42), Some(1.0), Some(f64::NAN)] {
                let line = line(fraction, &parts(), columns);
                assert!(line.len() < columns.max(1) || line.is_empty(), "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_from_the_end() {
        let drawn = |columns| line(Some(0.5), &parts(), columns);
        assert_eq!(
            drawn(80),
            "[==========>         ] 42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left, 3 sources"
        );
        assert_eq!(drawn(60), "42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left, 3 sources");
        assert_eq!(drawn(50), "42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left");
        assert_eq!(drawn(40), "42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s");
        assert_eq!(drawn(10), "42% 10.5 ");
        assert_eq!(line(None, &parts(), 200), "42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left, 3 sources");
        assert_eq!(line(Some(1.0), &["100%".into()], 20), "[============] 100%");
    }
}
