//! How much a client may send, and how long it may take. Each bound is of one connection.

use std::time::Duration;

/// Bytes of a request line and all header fields.
pub const MAX_HEAD: usize = 16 << 10;
/// Header fields of a request.
pub const MAX_FIELDS: usize = 100;
/// Ranges of one request; more are as good as none.
pub const MAX_RANGES: usize = 16;
/// Bytes that wait to be sent where the length of an answer is not known: a client that reads slowly gets no more.
pub const MAX_QUEUED: usize = 256 << 10;
/// Bytes of a request's body that nobody wants are read until so many, for the answer to arrive.
pub const MAX_DISCARDED: u64 = 1 << 20;

/// From the first byte of a request until its head must be here.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// From one request to the first byte of the next.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client takes nothing for so long: a player that is paused reads on later, but not for ever.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(600);
/// A client sends nothing of a body that is wanted.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the rest of a request is read after its answer, for the answer to arrive.
pub const LINGER: Duration = Duration::from_secs(2);
