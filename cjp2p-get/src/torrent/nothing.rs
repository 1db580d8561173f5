//! The library of a node that shares nothing: a torrent is not in the other network.

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::{Asker, Library, Read, Sink};

/// See the [module](self).
pub(crate) struct Nothing;

impl Library for Nothing {
    fn read(&mut self, _: Asker, _: &ContentId, _: u64, _: usize, _: &mut Vec<u8>) -> Read {
        Read::Absent
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }
}

impl Sink for Nothing {}
