//! Log lines on standard error: `cjp2p-get: warning: ...`.

use std::env;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter, Record};

use super::exit::Exit;
use super::stderr::Priority;
use super::{progress, stderr};

/// Nothing is told of failures that are worth another try.
static IS_SILENT: AtomicBool = AtomicBool::new(false);
/// What is fetched is the newest of something that changes.
static MAY_CHANGE: AtomicBool = AtomicBool::new(false);

/// Starts logging. To be called once, first of all.
///
/// Without anything, warnings and errors are shown, and only errors with `-q` (`quiet`); each `-v` (`verbose`) adds a
/// level, for this project's code: what goes on, details, every datagram. `RUST_LOG` counts where no `-v` is given. With two
/// `-q`, [`tells_of`] has errors left out as well.
pub fn start(tool: &'static str, verbose: u8, quiet: u8) {
    IS_SILENT.store(quiet > 1, Ordering::Relaxed);
    let mut builder = Builder::new();
    match env::var("RUST_LOG") {
        Ok(filters) if verbose == 0 && !filters.is_empty() => {
            builder.parse_filters(&filters);
        }
        _ => {
            let (level, others) = levels(verbose, quiet > 0);
            builder.filter_level(others).filter_module("cjp2p", level);
        }
    }
    builder
        .format(move |out, record| {
            let line = line(tool, record);
            out.write_all(stderr::marked(priority(record.level()), &line).as_bytes())
        })
        .target(Target::Pipe(Box::new(AroundTheBar)));
    // A second call, in a test say, changes nothing.
    let _ = builder.try_init();
}

/// Whether a failure that ends so is to be told on standard error.
pub fn tells_of(exit: Exit) -> bool {
    let goes_on = exit == Exit::Withdrawn && MAY_CHANGE.load(Ordering::Relaxed);
    !((exit.is_worth_another_try() || goes_on) && IS_SILENT.load(Ordering::Relaxed))
}

/// What is fetched is the newest of something that changes: what is withdrawn makes way for another version, and is worth another try.
pub fn expect_another_version() {
    MAY_CHANGE.store(true, Ordering::Relaxed);
}

fn levels(verbose: u8, quiet: bool) -> (LevelFilter, LevelFilter) {
    match (verbose, quiet) {
        (0, true) => (LevelFilter::Error, LevelFilter::Error),
        (0, false) => (LevelFilter::Warn, LevelFilter::Warn),
        (1, _) => (LevelFilter::Info, LevelFilter::Warn),
        (2, _) => (LevelFilter::Debug, LevelFilter::Info),
        _ => (LevelFilter::Trace, LevelFilter::Debug),
    }
}

fn priority(level: Level) -> Priority {
    match level {
        Level::Error => Priority::Error,
        Level::Warn => Priority::Warning,
        Level::Info => Priority::Info,
        Level::Debug | Level::Trace => Priority::Debug,
    }
}

fn line(tool: &str, record: &Record<'_>) -> String {
    let message = record.args();
    match record.level() {
        Level::Error | Level::Info => format!("{tool}: {message}\n"),
        Level::Warn => format!("{tool}: warning: {message}\n"),
        level => format!("{tool}: {}: {}: {message}\n", level.as_str().to_lowercase(), record.target()),
    }
}

/// Standard error, with a progress bar taken out of the way while something else is written.
struct AroundTheBar;

impl Write for AroundTheBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::around_the_bar(|| stderr::tell_marked(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(level: Level) -> String {
        let record =
            Record::builder().level(level).target("cjp2p_wire::node").args(format_args!("hello")).build();
        line("cjp2p-get", &record)
    }

    #[test]
    fn every_line_starts_with_the_tools_name() {
        assert_eq!(formatted(Level::Error), "cjp2p-get: hello\n");
        assert_eq!(formatted(Level::Warn), "cjp2p-get: warning: hello\n");
        assert_eq!(formatted(Level::Info), "cjp2p-get: hello\n");
        assert_eq!(formatted(Level::Debug), "cjp2p-get: debug: cjp2p_wire::node: hello\n");
    }

    #[test]
    fn quiet_keeps_errors_and_each_v_adds_a_level() {
        assert_eq!(levels(0, true).0, LevelFilter::Error);
        assert_eq!(levels(0, false).0, LevelFilter::Warn);
        assert_eq!(levels(1, false).0, LevelFilter::Info);
        assert_eq!(levels(9, true).0, LevelFilter::Trace);
    }
}
