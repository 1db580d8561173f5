//! How far a tool is with its bytes, on standard error: a bar, lines, or JSON.

use std::env;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use super::bar::Told;
pub use super::bar::{around_the_bar, clear_at_once};
use super::rate::Rate;
use super::stderr::Priority;
use super::{bar, duration, size, stderr};

/// When and how progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum ProgressMode {
    /// A bar where standard error is a terminal, else a line now and then.
    #[default]
    Auto,
    /// The same, --quiet or not, and without a terminal a line each second.
    Always,
    /// Nothing.
    Never,
    /// A JSON object each second, one to a line.
    Json,
}

/// Without a terminal: rare enough for a mail from cron, often enough to see that something moves.
const SELDOM: Duration = Duration::from_secs(10);
const EACH_SECOND: Duration = Duration::from_secs(1);
/// A bar changes often enough for the eye and not more.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// Shows how far something is. Dropped without [`Progress::finish`], it takes its bar off the screen and says nothing.
#[derive(Debug)]
pub struct Progress {
    tool: &'static str,
    output: Output,
    start: Instant,
    /// When something was shown last, counted from `start`.
    shown: Option<Duration>,
    rate: Rate,
    state: State,
}

#[derive(Debug)]
enum Output {
    Nothing,
    Bar,
    Lines { every: Duration },
    Json,
}

/// How it is with something that comes while it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// How far behind it is, in milliseconds, where that is known.
    pub delay_ms: Option<u64>,
    /// How often something was left out because it was late.
    pub gaps: u64,
    /// Bytes of that.
    pub skipped: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// What was there before, as a resumed download has it.
    there: u64,
    done: u64,
    total: Option<u64>,
    sources: usize,
    live: Option<Live>,
}

impl Progress {
    /// Starts the clock. Nothing is shown before the first update.
    pub fn new(tool: &'static str, mode: ProgressMode, quiet: bool) -> Progress {
        let terminal = io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let output = match mode {
            ProgressMode::Never => Output::Nothing,
            ProgressMode::Auto if quiet => Output::Nothing,
            ProgressMode::Json => Output::Json,
            ProgressMode::Auto | ProgressMode::Always if terminal => Output::Bar,
            ProgressMode::Auto => Output::Lines { every: SELDOM },
            ProgressMode::Always => Output::Lines { every: EACH_SECOND },
        };
        Progress {
            tool,
            output,
            start: Instant::now(),
            shown: None,
            rate: Rate::default(),
            state: State::default(),
        }
    }

    /// Notes that so much of what will be done was there before.
    pub fn add_there(&mut self, bytes: u64) {
        self.state.there += bytes;
    }

    /// Says how it is with something that comes while it is made. It is shown with the next update.
    pub fn set_live(&mut self, live: Live) {
        self.state.live = Some(live);
    }

    /// Says that `done` bytes are done, of `total` where that is known, and from how many peers they come just now (0 where
    /// there is no such thing). Cheap, so it may be called for every block; also to be called when nothing
    /// moves, so that the rate falls.
    pub fn update(&mut self, done: u64, total: Option<u64>, sources: usize) {
        if matches!(self.output, Output::Nothing) {
            return;
        }
        let now = self.start.elapsed();
        self.state = State { done, total, sources, ..self.state };
        // What is found to be there already did not come.
        self.rate.sample(now, done.saturating_sub(self.state.there));
        let (every, at_once) = match self.output {
            Output::Nothing => return,
            Output::Bar => (BAR_INTERVAL, true),
            Output::Json => (EACH_SECOND, true),
            Output::Lines { every } => (every, false),
        };
        let due = match self.shown {
            Some(shown) => now.saturating_sub(shown) >= every,
            None => at_once || now >= every,
        };
        if due {
            self.shown = Some(now);
            self.show();
        }
    }

    /// Shows the end: the bar becomes a line that stays; lines and JSON get a last one, unless all was over before
    /// a first line was due.
    pub fn finish(mut self) {
        let elapsed = self.start.elapsed();
        let summary = self.state.summary(elapsed);
        match &self.output {
            Output::Nothing => {}
            Output::Bar => {
                if self.shown.is_some() {
                    around_the_bar(|| write_line(&format!("{}: {summary}", self.tool)));
                }
            }
            Output::Json => self.show(),
            Output::Lines { .. } => {
                if self.shown.is_some() {
                    write_line(&format!("{}: {summary}", self.tool));
                }
            }
        }
        self.clear();
    }

    fn show(&mut self) {
        let rate = self.rate.per_second();
        match &self.output {
            Output::Nothing => {}
            Output::Bar => {
                // Of nothing, all is done and nothing.
                let (done, total) = (self.state.done, self.state.total.filter(|&total| total > 0));
                bar::draw(&Told { done, total, parts: self.state.parts(rate) });
            }
            Output::Lines { .. } => write_line(&format!("{}: {}", self.tool, self.state.line(rate))),
            Output::Json => write_line(&self.state.json(rate)),
        }
    }

    fn clear(&mut self) {
        if matches!(self.output, Output::Bar) {
            bar::clear();
        }
        self.output = Output::Nothing;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Live {
    /// `2 gaps of 1.0 MiB in all`; `None` where nothing was left out.
    fn gaps(self) -> Option<String> {
        let plural = if self.gaps == 1 { "" } else { "s" };
        (self.gaps > 0).then(|| format!("{} gap{plural} of {} in all", self.gaps, size::human(self.skipped)))
    }
}

impl State {
    fn percent(&self) -> Option<u64> {
        let total = self.total.filter(|&total| total > 0)?;
        // Rounded down: 100 means all of it.
        u64::try_from(u128::from(self.done) * 100 / u128::from(total)).ok()
    }

    /// In seconds; nothing where it cannot be told, or would be absurd.
    fn time_left(&self, rate: u64) -> Option<u64> {
        let left = self.total?.saturating_sub(self.done);
        if left == 0 || rate == 0 {
            return None;
        }
        Some(left.div_ceil(rate)).filter(|seconds| *seconds < 100 * 86_400)
    }

    /// `42% 10.5 MiB of 25.0 MiB, 1.2 MiB/s, 12s left, 3 sources`
    fn line(&self, rate: u64) -> String {
        self.parts(rate).join(", ")
    }

    /// What that consists of, the most telling first.
    fn parts(&self, rate: u64) -> Vec<String> {
        let mut parts = vec![match (self.percent(), self.total) {
            (Some(percent), Some(total)) => {
                format!("{percent:3}% {} of {}", size::human(self.done), size::human(total))
            }
            _ => size::human(self.done),
        }];
        parts.push(format!("{}/s", size::human(rate)));
        if let Some(left) = self.time_left(rate) {
            parts.push(format!("{} left", duration::human_seconds(left)));
        }
        match self.sources {
            0 => {}
            1 => parts.push("1 source".into()),
            count => parts.push(format!("{count} sources")),
        }
        if let Some(live) = self.live {
            if let Some(delay) = live.delay_ms {
                parts.push(format!("{} behind", duration::human(Duration::from_millis(delay))));
            }
            parts.extend(live.gaps());
        }
        parts
    }

    fn summary(&self, elapsed: Duration) -> String {
        let moved = self.done - self.there.min(self.done);
        let rate = (moved as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
        let all = size::human(self.done);
        let gaps = self.live.and_then(Live::gaps).map(|gaps| format!(", {gaps}")).unwrap_or_default();
        let summary = match moved {
            0 if self.there > 0 => format!("{all}, all of it there already"),
            _ if moved == self.done => {
                format!("{all} in {}, {}/s", duration::human(elapsed), size::human(rate))
            }
            _ => {
                let (moved, rate) = (size::human(moved), size::human(rate));
                format!("{moved} in {}, {rate}/s; {all} with what was there", duration::human(elapsed))
            }
        };
        summary + &gaps
    }

    fn json(&self, rate: u64) -> String {
        #[derive(Serialize)]
        struct Event {
            event: &'static str,
            bytes: u64,
            total: Option<u64>,
            rate: u64,
            sources: usize,
            #[serde(skip_serializing_if = "Option::is_none")]
            delay_ms: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            gaps: Option<u64>,
        }
        let event = Event {
            event: "progress",
            bytes: self.done,
            total: self.total,
            rate,
            sources: self.sources,
            delay_ms: self.live.and_then(|live| live.delay_ms),
            gaps: self.live.map(|live| live.gaps),
        };
        serde_json::to_string(&event).expect("a struct of numbers is JSON")
    }
}

/// How far it is is no reason to wait, so what cannot be written at once is left out.
fn write_line(line: &str) {
    stderr::show(stderr::marked(Priority::Info, &format!("{line}\n")).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: State = State { there: 0, done: 5 << 20, total: Some(10 << 20), sources: 3, live: None };

    #[test]
    fn a_line_tells_percent_rate_time_left_and_sources() {
        assert_eq!(HALF.line(1 << 20), " 50% 5.0 MiB of 10.0 MiB, 1.0 MiB/s, 5s left, 3 sources");
        assert_eq!(HALF.line(0), " 50% 5.0 MiB of 10.0 MiB, 0 B/s, 3 sources");
        let unknown = State { total: None, sources: 1, ..HALF };
        assert_eq!(unknown.line(2048), "5.0 MiB, 2.0 KiB/s, 1 source");
    }

    #[test]
    fn what_is_live_tells_how_far_behind_it_is_and_what_is_left_out() {
        let live = Live { delay_ms: Some(420), gaps: 2, skipped: 3 << 19 };
        let state = State { total: None, live: Some(live), ..HALF };
        let gaps = "2 gaps of 1.5 MiB in all";
        assert_eq!(state.line(2048), format!("5.0 MiB, 2.0 KiB/s, 3 sources, 0.4s behind, {gaps}"));
        assert!(state.summary(Duration::from_secs(2)).ends_with(gaps));
        assert!(state.json(7).ends_with(r#""sources":3,"delay_ms":420,"gaps":2}"#));
        let none = State { live: Some(Live::default()), ..state };
        assert_eq!(none.line(2048), "5.0 MiB, 2.0 KiB/s, 3 sources");
        assert!(none.json(7).ends_with(r#""sources":3,"gaps":0}"#));
    }

    #[test]
    fn no_time_is_left_where_there_is_nothing_left_or_no_rate() {
        assert_eq!(State { done: 10 << 20, ..HALF }.time_left(5), None);
        assert_eq!(HALF.time_left(0), None);
        assert_eq!(HALF.time_left((5 << 20) - 1), Some(2));
        assert_eq!(State { total: Some(u64::MAX), ..HALF }.time_left(1), None);
    }

    #[test]
    fn a_hundred_percent_is_all_of_it_and_of_nothing_there_is_none() {
        let almost = State { done: u64::MAX - 1, total: Some(u64::MAX), ..HALF };
        assert_eq!(almost.percent(), Some(99));
        let nothing = State { done: 0, total: Some(0), ..HALF };
        assert_eq!(nothing.percent(), None);
        assert_eq!(nothing.line(0), "0 B, 0 B/s, 3 sources");
    }

    #[test]
    fn the_summary_does_not_count_what_was_there_before() {
        let resumed = State { there: 4 << 20, ..HALF };
        assert_eq!(
            resumed.summary(Duration::from_secs(2)),
            "1.0 MiB in 2.0s, 512.0 KiB/s; 5.0 MiB with what was there"
        );
    }

    #[test]
    fn where_nothing_was_there_the_summary_is_of_all_even_of_nothing() {
        let all = State { done: 10 << 20, ..HALF };
        assert_eq!(all.summary(Duration::from_secs(4)), "10.0 MiB in 4.0s, 2.5 MiB/s");
        let nothing = State { done: 0, total: Some(0), ..HALF };
        assert_eq!(nothing.summary(Duration::from_secs(1)), "0 B in 1.0s, 0 B/s");
        let resumed = State { there: 5 << 20, ..HALF };
        assert_eq!(resumed.summary(Duration::from_secs(1)), "5.0 MiB, all of it there already");
    }

    #[test]
    fn json_has_its_documented_fields() {
        let expected = r#"{"event":"progress","bytes":5242880,"total":10485760,"rate":7,"sources":3}"#;
        assert_eq!(HALF.json(7), expected);
    }
}
