//! Questions for a stream as it comes, and what their receivers have of it.
//!
//! Positions are bytes of the [signed form](crate::stream::record) of the stream.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::fields::{AddressList, IdText, Number, PlaceList, Text};
use super::handle::Handle;
use super::limits::MAX_STREAM_RANGES;
use crate::stream::StreamId;

/// The payload of [`Message::PleaseKeepSendingStream`](super::Message::PleaseKeepSendingStream): what the sender has, and wants of what
/// comes to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// The stream.
    pub id: StreamId,
    /// Under which name raw content is to come.
    pub handle: Handle,
    /// Nothing before this is wanted any more.
    pub from: u64,
    /// Nothing from here on is wanted yet. Not before `from`; where it is the same, only the edge is wanted.
    pub until: u64,
    /// What is here of what is wanted, in order, none empty, apart from each other.
    pub have: Vec<Range<u64>>,
    /// Which datagram came last, and when.
    pub got: Option<LastPiece>,
    /// How many bytes of content each datagram should hold at the most.
    pub piece: Option<u64>,
    /// To how many others the sender itself would send it.
    pub spare: u64,
    /// Others below the sender that would send it to one more, and how many hops away from the origin each is. `None`: as said before.
    pub places: Option<Vec<(SocketAddr, u64)>>,
    /// How many hops away from the origin the sender is, where it knows.
    pub depth: Option<u64>,
    /// Nothing is wanted any more.
    pub stops: bool,
}

/// The datagram that came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastPiece {
    /// Where it began.
    pub offset: u64,
    /// Since then.
    pub ago: Duration,
    /// When it came, by a clock of the sender's that begins anywhere and runs evenly. In microseconds.
    pub at: Option<u64>,
}

/// The payload of [`Message::IHaveThisOfTheStream`](super::Message::IHaveThisOfTheStream).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHolding {
    /// The stream.
    pub id: StreamId,
    /// The first position that is here, gaps aside.
    pub from: u64,
    /// Where the newest ends that is here.
    pub until: u64,
    /// How many hops away from the origin the sender is, where it knows; 0 at the origin.
    pub depth: Option<u64>,
    /// It sends nothing to the receiver, since it sends to as many as it can.
    pub full: bool,
    /// Nothing comes to it now, and it looks for somebody who sends.
    pub waits: bool,
    /// Others that may send it.
    pub peers: Vec<SocketAddr>,
}

#[derive(serde::Deserialize)]
struct RequestFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    #[serde(borrow, rename = "as")]
    handle: Text<'a>,
    from: Number,
    until: Number,
    #[serde(default)]
    have: Vec<(Number, Number)>,
    #[serde(default)]
    got: Option<Number>,
    #[serde(default)]
    us: Option<Number>,
    #[serde(default)]
    at: Option<Number>,
    #[serde(default)]
    piece: Option<Number>,
    #[serde(default)]
    spare: Number,
    #[serde(default)]
    places: Option<PlaceList>,
    #[serde(default)]
    depth: Option<Number>,
    #[serde(default)]
    stops: bool,
}

#[derive(serde::Deserialize)]
struct HoldingFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    from: Number,
    until: Number,
    #[serde(default)]
    depth: Option<Number>,
    #[serde(default)]
    full: bool,
    #[serde(default)]
    waits: bool,
    #[serde(default)]
    peers: Option<AddressList>,
}

pub(super) fn read_request(text: &str) -> Option<StreamRequest> {
    let fields: RequestFields<'_> = serde_json::from_str(text).ok()?;
    let (from, until) = (fields.from.0, fields.until.0);
    if until < from || fields.have.len() > MAX_STREAM_RANGES {
        return None;
    }
    let mut have = Vec::with_capacity(fields.have.len());
    let mut end = from;
    for (Number(start), Number(next)) in fields.have {
        if start < end || next <= start {
            return None;
        }
        have.push(start..next);
        end = next;
    }
    let ago = |us: Option<Number>| Duration::from_micros(us.map_or(0, |us| us.0));
    Some(StreamRequest {
        id: StreamId::on_wire(&fields.id.0)?,
        handle: Handle::parse(fields.handle.0.as_bytes())?,
        from,
        until,
        have,
        got: fields.got.map(|offset| LastPiece {
            offset: offset.0,
            ago: ago(fields.us),
            at: fields.at.map(|at| at.0),
        }),
        piece: fields.piece.map(|piece| piece.0),
        spare: fields.spare.0,
        places: fields.places.map(|places| places.0),
        depth: fields.depth.map(|depth| depth.0),
        stops: fields.stops,
    })
}

pub(super) fn read_holding(text: &str) -> Option<StreamHolding> {
    let fields: HoldingFields<'_> = serde_json::from_str(text).ok()?;
    let (from, until) = (fields.from.0, fields.until.0);
    (from <= until).then_some(())?;
    Some(StreamHolding {
        id: StreamId::on_wire(&fields.id.0)?,
        from,
        until,
        depth: fields.depth.map(|depth| depth.0),
        full: fields.full,
        waits: fields.waits,
        peers: fields.peers.map_or_else(Vec::new, |peers| peers.0),
    })
}
