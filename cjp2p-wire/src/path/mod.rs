//! The way to one peer: how long it is, how much it carries, what is in flight on it, and how to be fair to others there.
//!
//! Knows nothing of JSON, BLAKE3 or content.

pub mod congestion;
pub mod fairness;
pub mod headroom;
pub mod in_flight;
pub mod rate_filter;
pub mod rtt;
pub mod startup;
