//! `Spreading`: which pieces a seed has given to anybody yet.
//!
//! Until each piece was given once, those that nobody was given come first: leechers give the others to each other.

use super::output::ConnId;

/// Who was given each piece first.
#[derive(Debug, Default)]
pub(super) struct Spreading {
    // Invariant: empty, or as long as there are pieces.
    first: Vec<Option<ConnId>>,
    given: usize,
}

impl Spreading {
    /// Nobody was given any of so many pieces.
    pub(super) fn new(pieces: u32) -> Spreading {
        Spreading { first: vec![None; pieces as usize], given: 0 }
    }

    /// Whether each piece was given once.
    pub(super) fn is_over(&self) -> bool {
        self.given == self.first.len()
    }

    /// Whether nobody but this peer was given this piece.
    pub(super) fn is_new_for(&self, piece: u32, id: ConnId) -> bool {
        self.first.get(piece as usize).is_some_and(|first| first.is_none_or(|first| first == id))
    }

    /// This peer was given some of this piece.
    pub(super) fn on_sent(&mut self, piece: u32, id: ConnId) {
        if let Some(first @ None) = self.first.get_mut(piece as usize) {
            *first = Some(id);
            self.given += 1;
            if self.is_over() {
                *self = Spreading::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_new_until_somebody_else_was_given_it() {
        let (a, b) = (ConnId(1), ConnId(2));
        let mut spreading = Spreading::new(2);
        spreading.on_sent(0, a);
        assert!(spreading.is_new_for(0, a) && !spreading.is_new_for(0, b) && spreading.is_new_for(1, b));
        assert!(!spreading.is_over());
        spreading.on_sent(0, b);
        spreading.on_sent(1, b);
        assert!(spreading.is_over() && !spreading.is_new_for(0, a));
    }
}
