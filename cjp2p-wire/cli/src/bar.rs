//! A line at the bottom of a terminal that changes in place, with other lines written above it.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};
use rustix::termios::tcgetwinsize;

use super::stderr;

/// The bar that is on the screen. Whoever writes there holds this.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Back to the beginning of the line, and nothing from there on.
const CLEAR: &str = "\r\x1b[K";
/// Columns of a terminal that does not say how many it has.
const COLUMNS: u16 = 80;
/// Somebody who writes to a terminal that is stopped holds the line; nobody waits longer for it.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);
/// A bar of fewer columns says nothing.
const LEAST_BAR: usize = 10;
/// How often in a second it may be drawn: whoever shows it keeps the time.
const MAX_DRAWS: u8 = u8::MAX;

/// What a bar tells.
pub(super) struct Told {
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    /// What is told beside it, the most telling first: those that have no room are left out.
    pub(super) parts: Vec<String>,
}

/// Shows this in one line of the terminal.
pub(super) fn draw(told: &Told) {
    // Where another thread writes just now, the next time will do.
    let Ok(mut shown) = SHOWN.try_lock() else { return };
    show_on(shown.get_or_insert_with(|| new_bar(columns, stderr::show)), columns(), told);
}

/// Takes it off the screen.
pub(super) fn clear() {
    if let Some(bar) = lock().and_then(|mut shown| shown.take()) {
        bar.finish_and_clear();
    }
}

/// Takes it off the screen for good, whoever writes there at present: the process ends.
pub fn clear_at_once() {
    stderr::show(CLEAR.as_bytes());
}

/// Runs `write`, which writes to the terminal, with the bar out of the way.
pub fn around_the_bar<R>(write: impl FnOnce() -> R) -> R {
    let shown = lock();
    match shown.as_ref().and_then(|shown| shown.as_ref()) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn lock() -> Option<MutexGuard<'static, Option<ProgressBar>>> {
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

fn columns() -> u16 {
    let found = tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
    if found == 0 { COLUMNS } else { found }
}

/// A bar in a terminal of as many columns as `columns` says each time, written by `write`.
fn new_bar(columns: fn() -> u16, write: fn(&[u8])) -> ProgressBar {
    let term = Term { columns, write, text: Mutex::default() };
    // No colours, so NO_COLOR has nothing to switch off.
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(term), MAX_DRAWS);
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(style(false, String::new()));
    bar
}

/// `text`, behind a bar or alone. A message of the bar would be drawn when it is set, and again with what is set after it.
fn style(has_bar: bool, text: String) -> ProgressStyle {
    let template = if has_bar { "[{wide_bar}] {text}" } else { "{text}" };
    // The templates are here, and are right.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let write_text = move |_: &ProgressState, out: &mut dyn fmt::Write| {
        // Writes into memory.
        let _ = out.write_str(&text);
    };
    style.progress_chars("=> ").with_key("text", write_text)
}

fn show_on(bar: &ProgressBar, columns: u16, told: &Told) {
    // The last column stays free: many terminals begin a new line after it.
    let room = usize::from(columns.saturating_sub(1));
    if room == 0 {
        return;
    }
    let text = fitting(&told.parts, room);
    // Without a length the bar would look finished.
    let has_bar = told.total.is_some() && room >= text.len() + "[] ".len() + LEAST_BAR;
    bar.set_style(style(has_bar, text));
    // Draws once.
    bar.update(|state| {
        state.set_len(told.total.unwrap_or(0));
        state.set_pos(told.done);
    });
}

/// As many of the first parts as have room; of the first, as much as has.
fn fitting(parts: &[String], room: usize) -> String {
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
    text
}

/// A terminal that nobody waits for.
#[derive(Debug)]
struct Term {
    columns: fn() -> u16,
    write: fn(&[u8]),
    /// Not written yet.
    text: Mutex<String>,
}

impl Term {
    fn push(&self, text: &str) -> io::Result<()> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    fn go(&self, count: usize, letter: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.push(&format!("\x1b[{count}{letter}")) }
    }
}

impl TermLike for Term {
    fn width(&self) -> u16 {
        // Lines are filled up to here.
        (self.columns)().saturating_sub(1).max(1)
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.go(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.go(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.go(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.go(count, 'D')
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.push(line)?;
        self.push("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push(CLEAR)
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut *self.text.lock().unwrap_or_else(PoisonError::into_inner));
        (self.write)(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    thread_local! {
        static WIDTH: Cell<u16> = const { Cell::new(80) };
        static WRITTEN: RefCell<String> = const { RefCell::new(String::new()) };
        static WRITES: Cell<usize> = const { Cell::new(0) };
    }

    fn write(text: &[u8]) {
        WRITES.set(WRITES.get() + 1);
        WRITTEN.with_borrow_mut(|all| *all += str::from_utf8(text).unwrap());
    }

    /// What a terminal of so many columns shows in the end. It has one line: there must be no need for more.
    fn drawn(columns: u16, done: u64, total: Option<u64>) -> String {
        WIDTH.set(columns);
        WRITTEN.take();
        let bar = new_bar(|| WIDTH.get(), write);
        let parts = ["42% 10.5 MiB of 25.0 MiB", "1.2 MiB/s", "12s left", "3 sources"];
        let told = Told { done, total, parts: parts.map(String::from).into() };
        show_on(&bar, columns, &told);
        bar.suspend(|| ());
        show_on(&bar, columns, &told);
        let written = WRITTEN.take();
        assert!(!written.contains('\n'), "{written:?}");
        let lines: Vec<&str> = written.split(CLEAR).collect();
        for line in &lines {
            assert!(line.len() < usize::from(columns.max(1)), "{columns}: {line:?}");
        }
        lines.last().unwrap().trim_end().to_owned()
    }

    #[test]
    fn a_line_is_shorter_than_the_terminal_is_wide_whatever_that_is() {
        for columns in (0..100).chain([200, 1000]) {
            for (done, total) in [(0, None), (0, Some(25)), (10, Some(25)), (25, Some(25)), (0, Some(0))] {
                drawn(columns, done, total);
            }
        }
    }

    #[test]
    fn whatever_changes_is_drawn_once() {
        WIDTH.set(80);
        let bar = new_bar(|| WIDTH.get(), write);
        for (done, total) in [(1, None), (2, Some(9)), (3, Some(9)), (3, Some(7)), (4, None)] {
            WRITES.set(0);
            let told = Told { done, total, parts: vec![format!("{done} B")] };
            show_on(&bar, 80, &told);
            assert_eq!(WRITES.get(), 1, "{done} of {total:?}");
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_from_the_end() {
        let half = |columns| drawn(columns, 50, Some(100));
        assert_eq!(
            half(80),
            "[==========>         ] 42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left, 3 sources"
        );
        assert_eq!(half(60), "42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left, 3 sources");
        assert_eq!(half(50), "42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left");
        assert_eq!(half(40), "42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s");
        assert_eq!(half(20), "42% 10.5 MiB of 25.");
        assert_eq!((half(2), half(1), half(0)), ("4".into(), String::new(), String::new()));
        assert_eq!(drawn(200, 0, None), "42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left, 3 sources");
    }
}
