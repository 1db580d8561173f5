//! `PeerParts`: which pieces a peer has.

use super::events::Broken;
use crate::piece_set::PieceSet;
use crate::pieces::MAX_PIECES;
use crate::wire::WireError;

/// Pieces that a peer said one by one before it is known how many there are: more are not kept.
const MAX_EARLY: usize = 1024;

/// What it said while it is not known how many pieces there are.
#[derive(Clone, Debug, Default)]
struct Early {
    /// As it came; as long as a message at the most.
    bits: Option<Vec<u8>>,
    all: bool,
    // Invariant: at most `MAX_EARLY`.
    pieces: Vec<u32>,
}

/// Which pieces a peer has.
#[derive(Clone, Debug)]
pub struct PeerParts {
    set: Option<PieceSet>,
    early: Early,
    /// It said what it has, or something that comes after that.
    has_begun: bool,
}

impl PeerParts {
    pub(super) fn new(count: Option<u32>) -> PeerParts {
        PeerParts { set: count.map(PieceSet::none), early: Early::default(), has_begun: false }
    }

    /// Which ones, where it is known how many there are.
    #[must_use]
    pub fn set(&self) -> Option<&PieceSet> {
        self.set.as_ref()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> Option<u32> {
        self.set.as_ref().map(PieceSet::len)
    }

    /// Whether it has everything.
    #[must_use]
    pub fn is_seed(&self) -> bool {
        self.set.as_ref().map_or(self.early.all, PieceSet::is_full)
    }

    /// It refused to send this piece though it may be asked: it does not have it.
    pub(crate) fn lost(&mut self, piece: u32) -> bool {
        self.set.as_mut().is_some_and(|set| set.remove(piece))
    }

    pub(super) fn set_count(&mut self, count: u32) -> Result<(), Broken> {
        if self.set.is_some() {
            return Ok(());
        }
        let Early { bits, all, pieces } = std::mem::take(&mut self.early);
        let mut set = match bits {
            Some(bits) => PieceSet::from_bytes(&bits, count).ok_or(Broken::NoSuchPiece)?,
            None if all => PieceSet::all(count),
            None => PieceSet::none(count),
        };
        for piece in pieces {
            if piece >= count {
                return Err(Broken::NoSuchPiece);
            }
            set.insert(piece);
        }
        self.set = Some(set);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Broken> {
        match std::mem::replace(&mut self.has_begun, true) {
            true => Err(Broken::OutOfOrder),
            false => Ok(()),
        }
    }

    /// Returns whether the swarm must know; so do the others.
    pub(super) fn on_bitfield(&mut self, bits: &[u8]) -> Result<bool, Broken> {
        self.begin()?;
        match &mut self.set {
            Some(set) => {
                let wrong = WireError::WrongLength { kind: 5, length: bits.len() };
                *set = PieceSet::from_bytes(bits, set.len()).ok_or(wrong)?;
                Ok(true)
            }
            None => {
                self.early.bits = Some(bits.to_vec());
                Ok(false)
            }
        }
    }

    pub(super) fn on_all(&mut self) -> Result<bool, Broken> {
        self.begin()?;
        match &mut self.set {
            Some(set) => {
                *set = PieceSet::all(set.len());
                Ok(true)
            }
            None => {
                self.early.all = true;
                Ok(false)
            }
        }
    }

    pub(super) fn on_none(&mut self) -> Result<bool, Broken> {
        self.begin().map(|()| false)
    }

    pub(super) fn on_have(&mut self, piece: u32) -> Result<bool, Broken> {
        self.has_begun = true;
        match &mut self.set {
            Some(set) if piece >= set.len() => Err(Broken::NoSuchPiece),
            Some(set) => Ok(set.insert(piece)),
            None if piece >= MAX_PIECES => Err(Broken::NoSuchPiece),
            None => {
                if self.early.pieces.len() < MAX_EARLY {
                    self.early.pieces.push(piece);
                }
                Ok(false)
            }
        }
    }
}
