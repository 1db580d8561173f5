//! Which bytes of content are wanted, named before its length is known.

use std::ops::Range;

use crate::range_set::RangeSet;

/// A range of some content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// These bytes, as far as the content reaches.
    Span(Range<u64>),
    /// The last so many bytes, or all if there are fewer.
    Last(u64),
}

impl RangeSpec {
    /// The bytes of this range in content of `length` bytes. None where it begins at the end or beyond.
    pub fn within(&self, length: u64) -> Range<u64> {
        match self {
            RangeSpec::Span(range) => {
                let end = range.end.min(length);
                range.start.min(end)..end
            }
            RangeSpec::Last(bytes) => length.saturating_sub(*bytes)..length,
        }
    }

    /// Whether the range begins at the end of content of `length` bytes or beyond. The last bytes never do.
    pub fn is_past_the_end(&self, length: u64) -> bool {
        matches!(self, RangeSpec::Span(range) if range.start >= length)
    }
}

/// The bytes that `specs` name of content of `length` bytes, in their order, and each byte once: a range leaves out what
/// those before it have. All bytes where none is named.
pub fn select(specs: &[RangeSpec], length: u64) -> Vec<Range<u64>> {
    let everything = RangeSpec::Span(0..length);
    let specs = if specs.is_empty() { std::slice::from_ref(&everything) } else { specs };
    let mut named = RangeSet::new();
    let mut selected = Vec::new();
    for spec in specs {
        let range = spec.within(length);
        selected.extend(named.gaps(range.clone()));
        named.insert(range);
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec() -> impl Strategy<Value = RangeSpec> {
        prop_oneof![
            (0u64..60, 0u64..30).prop_map(|(start, len)| RangeSpec::Span(start..start + len)),
            (0u64..60).prop_map(|start| RangeSpec::Span(start..u64::MAX)),
            (0u64..60).prop_map(RangeSpec::Last),
        ]
    }

    proptest! {
        #[test]
        fn ranges_select_what_a_list_of_single_bytes_does(
            specs in prop::collection::vec(spec(), 1..6),
            length in 0u64..50,
        ) {
            let mut expected: Vec<u64> = Vec::new();
            for spec in &specs {
                for byte in 0..length {
                    let is_in = match spec {
                        RangeSpec::Span(range) => range.contains(&byte),
                        RangeSpec::Last(bytes) => byte + bytes >= length,
                    };
                    if is_in && !expected.contains(&byte) {
                        expected.push(byte);
                    }
                }
            }
            let selected = select(&specs, length);
            prop_assert!(selected.iter().all(|range| !range.is_empty()));
            prop_assert_eq!(selected.into_iter().flatten().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn no_range_is_everything_and_only_a_span_can_begin_past_the_end() {
        assert_eq!(select(&[], 7), vec![0..7]);
        assert_eq!(select(&[], 0), vec![]);
        assert!(RangeSpec::Span(7..9).is_past_the_end(7) && !RangeSpec::Span(6..9).is_past_the_end(7));
        assert!(RangeSpec::Span(0..1).is_past_the_end(0) && !RangeSpec::Last(9).is_past_the_end(0));
    }
}
