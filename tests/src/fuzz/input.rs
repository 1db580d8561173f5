//! Reading decisions from fuzz input: small changes of the bytes are small changes of what is done.

/// What is left of an input. At its end all numbers are 0 and all slices are empty, so every input means something.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of an input.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// The next bytes, `count` at the most.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// The next bytes, up to 255, with their count before them.
    pub fn counted(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.take(count.into())
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A number below `limit`, at least 1 and at most 2^32: one byte for small limits, so that bytes are not wasted.
    pub fn below(&mut self, limit: u64) -> u64 {
        let count = if limit <= 1 << 8 {
            1
        } else if limit <= 1 << 16 {
            2
        } else {
            4
        };
        self.take(count).iter().fold(0, |n, &byte| n << 8 | u64::from(byte)) % limit
    }

    /// Any number; the small ones and those near a power of two are the likeliest.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            kind @ 0..128 => kind.into(),
            128..160 => self.below(1 << 16),
            160..192 => self.take(8).iter().fold(0, |n, &byte| n << 8 | u64::from(byte)),
            kind => (1u64 << (kind & 63)).wrapping_add(u64::from(self.byte()) % 8).wrapping_sub(4),
        }
    }

    /// One of `choices`, of which there must be some.
    pub fn choose<'b, T>(&mut self, choices: &'b [T]) -> &'b T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}
