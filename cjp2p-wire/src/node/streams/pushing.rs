//! What blocks leave through: the rate that the owner allows, and datagrams of raw content.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::datagram::raw::RawHeader;
use crate::message::Handle;
use crate::node::shared::Shared;
use crate::store::Store;
use crate::stream::{SignedBlock, record};
use crate::time::Time;

/// Datagrams for one before it is the turn of the next.
const QUANTUM: usize = 32;
/// This much time's worth of the rate may leave at once.
const AT_ONCE: Duration = Duration::from_millis(20);

/// When more may leave.
#[derive(Debug, Default)]
pub(super) struct Gate {
    // By when what left has used up the rate.
    used_until: Time,
    /// Nothing could leave anyway.
    pub(super) is_held: bool,
}

impl Gate {
    /// When the next may leave.
    pub(super) fn open_at(&self) -> Time {
        if self.is_held { Time::NEVER } else { self.used_until - AT_ONCE }
    }
}

/// What is given with each call that may send blocks.
pub(super) struct Push<'a> {
    pub(super) now: Time,
    pub(super) shared: &'a mut Shared,
    pub(super) store: &'a mut dyn Store,
    pub(super) gate: &'a mut Gate,
}

impl Push<'_> {
    pub(super) fn quantum(&self) -> usize {
        QUANTUM
    }

    pub(super) fn may_send(&self) -> bool {
        self.gate.open_at() <= self.now
    }

    /// Sends what of a block's record lies at these positions. `eof`: where the record ends, if the block is short.
    pub(super) fn piece(
        &mut self,
        to: SocketAddr,
        handle: Handle,
        block: &SignedBlock,
        positions: Range<u64>,
        eof: Option<u64>,
    ) {
        let mut data = Vec::with_capacity((positions.end - positions.start) as usize);
        record::write(block, positions.clone(), &mut data);
        let mut bytes = Vec::with_capacity(RawHeader::MAX_LEN + data.len());
        RawHeader { handle, places: 0 }.write(positions.start, &data, eof, &mut bytes);
        self.datagram(to, bytes, data.len());
    }

    /// Sends a datagram with so many bytes of a stream.
    pub(super) fn datagram(&mut self, to: SocketAddr, bytes: Vec<u8>, content: usize) {
        if let Some(rate) = self.shared.config.upload_rate {
            let time = Duration::from_secs_f64(bytes.len() as f64 / rate.max(1) as f64);
            self.gate.used_until = self.gate.used_until.max(self.now) + time;
        }
        self.shared.outbox.on_served(content);
        self.shared.send(to, bytes);
    }
}
