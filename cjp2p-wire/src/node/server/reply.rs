//! A datagram that answers another, within a limit of bytes.

use crate::datagram::Encoder;

/// See the [module](self).
pub(super) struct Reply {
    pub(super) encoder: Encoder,
    limit: usize,
    /// Whether anything but cookies is in it.
    pub(super) says_something: bool,
    /// Whether content is in it.
    pub(super) gives_content: bool,
}

impl Reply {
    /// An empty one, of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Reply {
        Reply { encoder: Encoder::new(), limit, says_something: false, gives_content: false }
    }

    /// Writes what fits; returns whether it did.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Encoder)) -> bool {
        let mark = self.encoder.mark();
        write(&mut self.encoder);
        let fits = self.encoder.len() <= self.limit;
        if !fits {
            self.encoder.rewind(mark);
        }
        fits
    }

    /// The most bytes that it may have.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes are left.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.encoder.len())
    }

    /// The same as [`Reply::add`] for what is worth sending a datagram for.
    pub(super) fn say(&mut self, write: impl FnOnce(&mut Encoder)) -> bool {
        let fits = self.add(write);
        self.says_something |= fits;
        fits
    }
}
