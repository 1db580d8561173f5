//! Questions what a name stands for.

use super::fields::{Number, Text};
use crate::signed::{PointerId, PointerName, PublicKey};

/// The longest that anybody can ask us to wait, in seconds.
pub const MAX_WAIT: u64 = 300;

/// The payload of [`Message::GetLatest`](super::Message::GetLatest).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestRequest {
    /// The name, and whose it is.
    pub id: PointerId,
    /// Only what has a greater number than this is wanted.
    pub after: Option<u64>,
    /// Where nothing newer is known, how many seconds to wait for it, [`MAX_WAIT`] at the most. Others answer at once or not at
    /// all.
    pub wait: Option<u64>,
}

/// The payload of [`Message::IKnowNothingNewer`](super::Message::IKnowNothingNewer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NothingNewer {
    /// The name that was asked for, and whose it is.
    pub id: PointerId,
    /// What the question said; without it nothing at all is known.
    pub after: Option<u64>,
}

#[derive(serde::Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    ed25519: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(default)]
    after: Option<Number>,
    #[serde(default)]
    wait: Option<Number>,
}

fn read(text: &str) -> Option<(PointerId, Fields<'_>)> {
    let fields: Fields<'_> = serde_json::from_str(text).ok()?;
    let Text(name) = &fields.name;
    let id = PointerId { key: PublicKey::parse(&fields.ed25519.0)?, name: PointerName::new(name).ok()? };
    Some((id, fields))
}

pub(super) fn read_request(text: &str) -> Option<LatestRequest> {
    let (id, fields) = read(text)?;
    let wait = fields.wait.map(|wait| wait.0.min(MAX_WAIT));
    Some(LatestRequest { id, after: fields.after.map(|after| after.0), wait })
}

pub(super) fn read_nothing(text: &str) -> Option<NothingNewer> {
    let (id, fields) = read(text)?;
    Some(NothingNewer { id, after: fields.after.map(|after| after.0) })
}
