//! How much of a stream is kept.

use std::time::Duration;

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    All,
    /// The newest of it: so many bytes on disk or in memory.
    Bytes(u64),
    /// What came within so much time.
    For(Duration),
}

impl Keep {
    /// Whether what is `age` old is to go where all takes `bytes`.
    pub fn is_over(self, bytes: u64, age: Duration) -> bool {
        match self {
            Keep::All => false,
            Keep::Bytes(most) => bytes > most,
            Keep::For(longest) => age > longest,
        }
    }
}
