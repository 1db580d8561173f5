//! Datagrams that somebody changed, for tests.

use proptest::prelude::*;
use proptest::sample::Index;

/// Bytes that mean something to JSON are the likeliest to confuse.
const SPECIAL: &[u8] = b"\"\\{}[],:0123456789.eE+- \n\t\x00\x1f\x7f\x80\xc3\xa9=/";

/// Where a byte is changed, how, and by what.
type Edit = (Index, u8, u8);

/// One to three changes.
pub(super) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    proptest::collection::vec((any::<Index>(), 0u8..4, any::<u8>()), 1..4)
}

/// Replaces, inserts and removes bytes.
pub(super) fn edit(bytes: &mut Vec<u8>, edits: Vec<Edit>) {
    for (at, kind, byte) in edits {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        let special = SPECIAL[usize::from(byte) % SPECIAL.len()];
        match kind {
            0 => bytes[at] = special,
            1 => bytes[at] = byte,
            2 => bytes.insert(at, special),
            _ => drop(bytes.remove(at)),
        }
    }
}
