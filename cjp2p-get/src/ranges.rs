//! Which bytes of the content are asked for: the ranges of the command line.

use std::ops::Range;

use cjp2p_cli::size;
use cjp2p_wire::download::{RangeSpec, select};
use cjp2p_wire::range_set::RangeSet;

/// One range of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeArg {
    text: String,
    spec: RangeSpec,
    priority: u8,
}

impl RangeArg {
    /// Reads `FIRST-LAST`, `FIRST-`, `-COUNT` or `FIRST+COUNT`, with `:PRIORITY` where that is not 0.
    ///
    /// # Errors
    ///
    /// Where the text is something else, or a range of no bytes. The message is for the user.
    pub fn parse(text: &str) -> Result<RangeArg, String> {
        let (range, priority) = match text.split_once(':') {
            Some((range, priority)) => (range, Some(priority)),
            None => (text, None),
        };
        let priority = match priority {
            None => 0,
            Some(digits) => match digits.parse() {
                Ok(priority) if digits.starts_with(|c: char| c.is_ascii_digit()) => priority,
                _ => return Err(format!("the priority {digits:?} is not a number from 0 to 255")),
            },
        };
        Ok(RangeArg { text: text.to_owned(), spec: parse_spec(range.trim())?, priority })
    }

    /// How it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn parse_spec(text: &str) -> Result<RangeSpec, String> {
    let no_range = || format!("{text:?} is no range; write FIRST-LAST, FIRST-, -COUNT or FIRST+COUNT");
    let count = |count: &str| match size::parse(count)? {
        0 => Err(format!("{text:?} is a range of no bytes")),
        count => Ok(count),
    };
    let sign = text.find(['-', '+']).ok_or_else(no_range)?;
    // No content is so long that it matters where this saturates.
    match (&text[..sign], &text[sign..=sign], &text[sign + 1..]) {
        ("", "+", _) | (_, "+", "") | ("", _, "") => Err(no_range()),
        ("", _, bytes) => Ok(RangeSpec::Last(count(bytes)?)),
        (first, _, "") => Ok(RangeSpec::Span(size::parse(first)?..u64::MAX)),
        (first, "+", bytes) => {
            let first = size::parse(first)?;
            Ok(RangeSpec::Span(first..first.saturating_add(count(bytes)?)))
        }
        (first, _, last) => match (size::parse(first)?, size::parse(last)?) {
            (first, last) if last < first => Err(format!("{text:?} ends before it begins")),
            (first, last) => Ok(RangeSpec::Span(first..last.saturating_add(1))),
        },
    }
}

/// All ranges of the command line, in the order in which they are fetched. None stands for all of the content.
#[derive(Clone, Debug, Default)]
pub struct Ranges(Vec<RangeArg>);

impl Ranges {
    /// Orders the ranges: higher priorities first, equal ones as they were given.
    pub fn new(mut ranges: Vec<RangeArg>) -> Ranges {
        ranges.sort_by_key(|range| std::cmp::Reverse(range.priority));
        Ranges(ranges)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges as the fetch knows them.
    pub fn specs(&self) -> Vec<RangeSpec> {
        self.0.iter().map(|range| range.spec.clone()).collect()
    }

    /// How a range was written.
    pub fn text(&self, nth: usize) -> &str {
        self.0.get(nth).map_or("", RangeArg::text)
    }

    /// The bytes that they select of content of `length` bytes.
    pub fn select(&self, length: u64) -> Vec<Range<u64>> {
        select(&self.specs(), length)
    }

    /// The same, in the order of their offsets.
    pub fn set(&self, length: u64) -> RangeSet {
        self.select(length).into_iter().collect()
    }

    /// How the first range was written that begins at the end of content of `length` bytes, or beyond.
    pub fn past_the_end(&self, length: u64) -> Option<&str> {
        self.0.iter().find(|range| range.spec.is_past_the_end(length)).map(RangeArg::text)
    }

    /// Whether they are all of content of `length` bytes.
    pub fn are_all(&self, length: u64) -> bool {
        let fit = self.0.iter().all(|range| !range.spec.is_past_the_end(length));
        fit && self.set(length).total() == length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (RangeSpec, u8) {
        let range = RangeArg::parse(text).unwrap();
        (range.spec, range.priority)
    }

    #[test]
    fn the_last_byte_is_included_whatever_the_unit() {
        for (text, range) in [
            ("0-0", 0..1),
            ("0-499", 0..500),
            ("500-", 500..u64::MAX),
            ("1M-2M", 1 << 20..(2 << 20) + 1),
            ("4G+1M", 4 << 30..(4 << 30) + (1 << 20)),
            ("7+1", 7..8),
            ("1.5K-2KB", 1536..2001),
            ("1 MiB - 2 MiB", 1 << 20..(2 << 20) + 1),
            ("5-5", 5..6),
            ("0-18446744073709551615", 0..u64::MAX),
            ("1+18446744073709551615", 1..u64::MAX),
        ] {
            assert_eq!(parse(text), (RangeSpec::Span(range), 0), "{text}");
        }
        assert_eq!(parse("-500"), (RangeSpec::Last(500), 0));
        assert_eq!(parse("-1M:255"), (RangeSpec::Last(1 << 20), 255));
        assert_eq!(parse("0-:7"), (RangeSpec::Span(0..u64::MAX), 7));
    }

    #[test]
    fn what_is_no_range_is_refused_and_told_why() {
        for (text, why) in [
            ("", "is no range"),
            ("x", "is no range"),
            ("5", "is no range"),
            (":5", "is no range"),
            ("-", "is no range"),
            ("+", "is no range"),
            ("+5", "is no range"),
            ("5+", "is no range"),
            ("--5", "is not a size"),
            ("1--2", "is not a size"),
            ("1-2-3", "is not a size"),
            ("1-+2", "is not a size"),
            ("a-b", "is not a size"),
            ("1-2X", "is not a size"),
            ("0.5-1", "is not a size"),
            ("1-99999999999999999999", "is not a size"),
            ("1-16777216T", "is not a size"),
            ("99999999999999999999-", "is not a size"),
            ("9-3", "ends before it begins"),
            ("1M-1", "ends before it begins"),
            ("-0", "no bytes"),
            ("5+0", "no bytes"),
            ("1-2:", "priority"),
            ("1-2:256", "priority"),
            ("1-2:-1", "priority"),
            ("1-2:+1", "priority"),
            ("1-2:x", "priority"),
            ("1-2:3:4", "priority"),
            ("0-0,5-5", "is not a size"),
            ("é-é", "is not a size"),
        ] {
            let message = RangeArg::parse(text).unwrap_err();
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn higher_priorities_come_first_and_equal_ones_as_given() {
        let texts = ["5-5", "1-1:3", "2-2", "3-3:255", "4-4:3"];
        let ranges = Ranges::new(texts.map(|text| RangeArg::parse(text).unwrap()).to_vec());
        let starts: Vec<u64> = ranges.select(100).into_iter().map(|range| range.start).collect();
        assert_eq!(starts, [3, 1, 4, 5, 2]);
        assert_eq!(ranges.text(1), "1-1:3");
    }
}
