//! `PeerId`: how a client names itself to peers and trackers (BEP 20).

use std::fmt;

/// The name that a client gives itself: which program it is, and a random number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; PeerId::LEN]);

/// What the names of this program begin with: two letters and the version.
const PROGRAM: &[u8; 8] = b"-CJ0100-";

impl PeerId {
    /// Bytes of a peer id.
    pub const LEN: usize = 20;

    /// A new one of this program.
    #[must_use]
    pub fn random(random: &mut fastrand::Rng) -> PeerId {
        let mut bytes = [0; PeerId::LEN];
        let (program, number) = bytes.split_at_mut(PROGRAM.len());
        program.copy_from_slice(PROGRAM);
        number.fill_with(|| random.alphanumeric() as u8);
        PeerId(bytes)
    }

    /// The one that has these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; PeerId::LEN]) -> PeerId {
        PeerId(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PeerId::LEN] {
        &self.0
    }
}

/// What is printable of it.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}
