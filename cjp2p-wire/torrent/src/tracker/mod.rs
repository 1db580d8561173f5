//! Trackers: what they are asked and answer, by HTTP (BEP 3, 23, 7) and UDP (BEP 15), and which of several is asked when (BEP 12).

mod announce;
mod announcer;
mod http;
mod udp;

pub use announce::{Announce, Answer, MAX_PEERS, Moment, TrackerError};
pub use announcer::{Announcer, Ask};
pub use http::{MAX_ANSWER, read_answer, request_url};
pub use udp::UdpExchange;
