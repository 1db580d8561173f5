//! The path to one peer: its round trip and rate, the requests in flight on it, and fairness to other flows.
//!
//! Imports run one way: `in_flight` uses `congestion` and `waits`; `congestion` uses the others, which stand alone. Nothing here knows of JSON,
//! BLAKE3 or content.

pub mod congestion;
pub mod delivery_rate;
pub mod fairness;
pub mod headroom;
pub mod in_flight;
pub mod pacer;
pub mod rate_filter;
pub mod rounds;
pub mod rtt;
pub mod startup;
pub mod waits;
