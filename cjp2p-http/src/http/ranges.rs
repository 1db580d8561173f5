//! `Range`: which bytes of content a client asks for (RFC 9110, section 14).

use std::ops::Range;

use super::limits::MAX_RANGES;

/// One range as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// From this byte to that one, the last included; to the end where there is none.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

/// What the ranges of a request select of content whose length is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// All of it: nothing else was asked for, or it would be more than all.
    Whole,
    /// One range.
    One(Range<u64>),
    /// Several, in the order in which they were asked for; two at least.
    Several(Vec<Range<u64>>),
    /// None of them begins before the end.
    Nothing,
}

/// Reads the value of a `Range` field. `None` where it is malformed, counts in something else than bytes, or names more than
/// [`MAX_RANGES`]: then it counts as if it was not there.
pub fn parse(value: &str) -> Option<Vec<Spec>> {
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    // A list may have empty elements (RFC 9110, section 5.6.1.2).
    for text in set.split(',').map(|text| text.trim_matches([' ', '\t'])).filter(|text| !text.is_empty()) {
        if specs.len() == MAX_RANGES {
            return None;
        }
        specs.push(parse_one(text)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn parse_one(text: &str) -> Option<Spec> {
    let (first, last) = text.split_once('-')?;
    match (first, last) {
        ("", count) => Some(Spec::Last(number(count)?)),
        (first, "") => Some(Spec::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

/// A number of any length. No content is so long that it matters where this saturates.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let push = |value: u64, digit: u8| value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.bytes().fold(0, push))
}

impl Spec {
    /// The bytes of it in content of this length; `None` where there is none.
    fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Spec::From(first, last) => first..last.map_or(length, |last| last.saturating_add(1)).min(length),
            Spec::Last(count) => length.saturating_sub(count)..length,
        };
        (range.start < range.end).then_some(range)
    }
}

/// What these ranges select of content of `length` bytes.
pub fn select(specs: &[Spec], length: u64) -> Selected {
    let mut there: Vec<Range<u64>> = specs.iter().filter_map(|spec| spec.within(length)).collect();
    let total = there.iter().fold(0_u64, |sum, range| sum.saturating_add(range.end - range.start));
    match there.len() {
        0 => Selected::Nothing,
        // Whoever asks for bytes several times would be sent more than there is.
        _ if total > length => Selected::Whole,
        1 => Selected::One(there.remove(0)),
        _ => Selected::Several(there),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_range_counts_as_if_it_was_not_there() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes= , ",
            "items=0-1",
            "bytes=5-4",
            "bytes=a-",
            "bytes=1-2-3",
            "bytes=-",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=0x1-",
            "0-1",
            "bytes=0-1,x",
            "bytes=--1",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let many = |count| format!("bytes={}", vec!["0-0"; count].join(","));
        assert_eq!(parse(&many(MAX_RANGES)).map(|specs| specs.len()), Some(MAX_RANGES));
        assert_eq!(parse(&many(MAX_RANGES + 1)), None);
    }

    #[test]
    fn ranges_are_cut_at_the_end_and_those_beyond_are_left_out() {
        let selected = |text, length| select(&parse(text).unwrap(), length);
        assert_eq!(selected("bytes=0-499", 10_000), Selected::One(0..500));
        assert_eq!(selected("Bytes=9500-", 10_000), Selected::One(9500..10_000));
        assert_eq!(selected("bytes=-500", 10_000), Selected::One(9500..10_000));
        assert_eq!(selected("bytes=-20000", 10_000), Selected::One(0..10_000));
        assert_eq!(selected("bytes=9999-99999999999999999999999", 10_000), Selected::One(9999..10_000));
        assert_eq!(selected("bytes=10000-", 10_000), Selected::Nothing);
        assert_eq!(selected("bytes=99999999999999999999999-", 10_000), Selected::Nothing);
        assert_eq!(selected("bytes=-0", 10_000), Selected::Nothing);
        assert_eq!(selected("bytes=0-", 0), Selected::Nothing);
        assert_eq!(selected("bytes=0-0, -1 ,\t20000-", 10_000), Selected::Several(vec![0..1, 9999..10_000]));
        assert_eq!(selected("bytes=5-6,0-1", 10_000), Selected::Several(vec![5..7, 0..2]));
        assert_eq!(selected("bytes=0-,0-,5-", 10), Selected::Whole);
    }

    proptest! {
        #[test]
        fn what_is_selected_lies_in_the_content(text in "bytes=[0-9,\\- ]{0,30}", length in 0u64..50) {
            let Some(specs) = parse(&text) else { return Ok(()) };
            let ranges = match select(&specs, length) {
                Selected::One(range) => vec![range],
                Selected::Several(ranges) => ranges,
                Selected::Whole | Selected::Nothing => vec![],
            };
            prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= length));
        }
    }
}
