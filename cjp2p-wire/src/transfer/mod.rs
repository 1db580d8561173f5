//! The transfer machines: asking for content, answering for it, and what both need.
//!
//! [`ranges`], [`rtt`], [`window`] and [`path`] know nothing of JSON or BLAKE3.

pub mod blobs;
pub mod fetch;
pub mod path;
pub mod ranges;
pub mod rtt;
pub mod serve;
pub mod window;
