//! `Slices`: bytes that belong together and lie in several places.

use std::borrow::Cow;
use std::ops::Range;

/// Bytes that follow one another, in slices.
#[derive(Clone, Copy, Debug)]
pub struct Slices<'a> {
    slices: &'a [&'a [u8]],
    length: usize,
}

impl<'a> Slices<'a> {
    /// These, one after another.
    pub fn new(slices: &'a [&'a [u8]]) -> Slices<'a> {
        Slices { slices, length: slices.iter().map(|slice| slice.len()).sum() }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All bytes in one piece: copied, unless they lie so.
    pub fn to_contiguous(&self) -> Cow<'a, [u8]> {
        match self.slices {
            [] => Cow::Borrowed(&[]),
            [only] => Cow::Borrowed(only),
            several => Cow::Owned(several.concat()),
        }
    }

    /// Copies the bytes of this range to `out`, which is as long.
    ///
    /// # Panics
    ///
    /// Where the range does not lie within, or `out` has another length.
    pub fn copy_to(&self, range: Range<usize>, mut out: &mut [u8]) {
        assert!(range.end <= self.length && out.len() == range.len());
        let mut skip = range.start;
        for slice in self.slices {
            if out.is_empty() {
                return;
            }
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            let part = &slice[skip..];
            skip = 0;
            let count = part.len().min(out.len());
            let (now, rest) = out.split_at_mut(count);
            now.copy_from_slice(&part[..count]);
            out = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_is_copied_as_if_all_lay_in_one_piece() {
        let pieces: [&[u8]; 5] = [b"ab", b"", b"cdefg", b"h", b"ij"];
        let slices = Slices::new(&pieces);
        let whole = b"abcdefghij";
        assert_eq!((slices.len(), &*slices.to_contiguous()), (10, &whole[..]));
        for start in 0..=10 {
            for end in start..=10 {
                let mut out = vec![0; end - start];
                slices.copy_to(start..end, &mut out);
                assert_eq!(out, whole[start..end]);
            }
        }
        assert!(Slices::new(&[]).is_empty());
        assert!(matches!(Slices::new(&[b"ab"]).to_contiguous(), Cow::Borrowed(b"ab")));
    }
}
