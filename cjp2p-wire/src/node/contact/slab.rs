//! Where contacts lie in memory.

use super::Contact;

/// Room is made for so many at a time, beside what there is: to move them all into more room would leave behind, each time, a hole
/// in memory as large as they were.
pub(super) const ROOM: usize = 256;

/// Contacts by place, of which there are ever more, and which stay where they are in memory.
#[derive(Debug, Default)]
pub(super) struct Slab {
    // Invariant: each but the last has [`ROOM`] of them, and none has more.
    pub(super) rooms: Vec<Vec<Contact>>,
}

impl Slab {
    pub(super) fn get(&self, place: usize) -> Option<&Contact> {
        self.rooms.get(place / ROOM)?.get(place % ROOM)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Contact> {
        self.rooms.get_mut(place / ROOM)?.get_mut(place % ROOM)
    }

    /// Adds one, and returns its place.
    pub(super) fn push(&mut self, contact: Contact) -> usize {
        if self.rooms.last().is_none_or(|room| room.len() == ROOM) {
            self.rooms.push(Vec::with_capacity(ROOM));
        }
        let before = ROOM * (self.rooms.len() - 1);
        let room = self.rooms.last_mut().expect("there is one now");
        room.push(contact);
        before + room.len() - 1
    }
}
