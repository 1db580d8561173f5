//! Which bytes of content are wanted, named before its length is known.

use std::ops::Range;

use crate::transfer::ranges::RangeSet;

/// A part of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes, as far as the content reaches.
    Span(Range<u64>),
    /// The last so many bytes, or all if there are fewer.
    Last(u64),
}

impl Part {
    /// The bytes of this part in content of `length` bytes. None where it begins at the end or beyond.
    pub fn within(&self, length: u64) -> Range<u64> {
        match self {
            Part::Span(range) => {
                let end = range.end.min(length);
                range.start.min(end)..end
            }
            Part::Last(bytes) => length.saturating_sub(*bytes)..length,
        }
    }

    /// Whether the part begins at the end of content of `length` bytes or beyond. The last bytes never do.
    pub fn is_past_the_end(&self, length: u64) -> bool {
        matches!(self, Part::Span(range) if range.start >= length)
    }
}

/// The bytes that `parts` name of content of `length` bytes, in the order of the parts, and each byte once: a part leaves
/// out what those before it have. All bytes where no part is named.
pub fn select(parts: &[Part], length: u64) -> Vec<Range<u64>> {
    let everything = Part::Span(0..length);
    let parts = if parts.is_empty() { std::slice::from_ref(&everything) } else { parts };
    let mut named = RangeSet::new();
    let mut selected = Vec::new();
    for part in parts {
        let range = part.within(length);
        selected.extend(named.gaps(range.clone()));
        named.insert(range);
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            (0u64..60, 0u64..30).prop_map(|(start, len)| Part::Span(start..start + len)),
            (0u64..60).prop_map(|start| Part::Span(start..u64::MAX)),
            (0u64..60).prop_map(Part::Last),
        ]
    }

    proptest! {
        #[test]
        fn parts_select_what_a_list_of_single_bytes_does(
            parts in prop::collection::vec(part(), 1..6),
            length in 0u64..50,
        ) {
            let mut expected: Vec<u64> = Vec::new();
            for part in &parts {
                for byte in 0..length {
                    let is_in = match part {
                        Part::Span(range) => range.contains(&byte),
                        Part::Last(bytes) => byte + bytes >= length,
                    };
                    if is_in && !expected.contains(&byte) {
                        expected.push(byte);
                    }
                }
            }
            let selected = select(&parts, length);
            prop_assert!(selected.iter().all(|range| !range.is_empty()));
            prop_assert_eq!(selected.into_iter().flatten().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn no_part_is_everything_and_only_a_span_can_begin_past_the_end() {
        assert_eq!(select(&[], 7), vec![0..7]);
        assert_eq!(select(&[], 0), vec![]);
        assert!(Part::Span(7..9).is_past_the_end(7) && !Part::Span(6..9).is_past_the_end(7));
        assert!(Part::Span(0..1).is_past_the_end(0) && !Part::Last(9).is_past_the_end(0));
    }
}
