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
}

impl PeerParts {
    pub(super) fn new(count: Option<u32>) -> PeerParts {
        PeerParts { set: count.map(PieceSet::none), early: Early::default() }
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

    /// Takes in a bitfield: at first, or later, as some clients say what they have got meanwhile. Where there is something new, returns what
    /// it had before; so do the others.
    pub(super) fn on_bitfield(&mut self, bits: &[u8]) -> Result<Option<PieceSet>, Broken> {
        match &self.set {
            Some(set) => {
                let wrong = WireError::WrongLength { kind: 5, length: bits.len() };
                let said = PieceSet::from_bytes(bits, set.len()).ok_or(wrong)?;
                Ok(self.grow(said))
            }
            None => {
                self.early.bits = Some(bits.to_vec());
                Ok(None)
            }
        }
    }

    pub(super) fn on_all(&mut self) -> Option<PieceSet> {
        match &self.set {
            Some(set) => self.grow(PieceSet::all(set.len())),
            None => {
                self.early.all = true;
                None
            }
        }
    }

    fn grow(&mut self, said: PieceSet) -> Option<PieceSet> {
        let set = self.set.as_mut()?;
        let mut all = said;
        // Never less than before: nobody loses pieces, and each message that counts has a new one.
        set.iter().for_each(|piece| _ = all.insert(piece));
        (all != *set).then(|| std::mem::replace(set, all))
    }

    pub(super) fn on_have(&mut self, piece: u32) -> Result<bool, Broken> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_may_say_all_at_once_or_one_by_one_and_a_bitfield_later() {
        let mut parts = PeerParts::new(Some(10));
        assert_eq!(parts.on_bitfield(&[0b1000_0000, 0]), Ok(Some(PieceSet::none(10))));
        assert_eq!(parts.on_have(9), Ok(true));
        assert_eq!(parts.on_have(9), Ok(false));
        let before = parts.set().cloned();
        assert_eq!(parts.on_bitfield(&[0b1100_0000, 0]), Ok(before));
        assert_eq!(parts.set().map(|set| set.iter().collect()), Some(vec![0, 1, 9]));
        assert_eq!(parts.on_bitfield(&[0b1000_0000, 0]), Ok(None), "nothing new");
        assert!(parts.on_bitfield(&[0xff, 0xff]).is_err() && parts.on_have(10).is_err());
        assert!(parts.on_all().is_some() && parts.is_seed() && parts.on_all().is_none());
    }

    #[test]
    fn what_was_said_before_it_was_known_how_many_pieces_there_are_counts() {
        let mut parts = PeerParts::new(None);
        assert_eq!(parts.on_bitfield(&[0b0100_0000]), Ok(None));
        (0..5000).for_each(|_| assert_eq!(parts.on_have(2), Ok(false)));
        assert!(parts.early.pieces.len() <= MAX_EARLY);
        assert_eq!(parts.clone().set_count(30), Err(Broken::NoSuchPiece));
        assert_eq!(parts.set_count(7), Ok(()));
        assert_eq!(parts.set().map(|set| set.iter().collect()), Some(vec![1, 2]));
    }
}
