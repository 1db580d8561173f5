//! The transfer machines: asking for content, answering for it, and what both need.
//!
//! [`ranges`], [`rtt`], [`rates`], [`slack`], [`startup`], [`courtesy`], [`window`] and [`path`] know nothing of JSON or BLAKE3.

pub mod blobs;
pub mod by_host;
pub mod courtesy;
pub mod debts;
pub mod fair_queue;
pub mod fetch;
pub mod path;
pub mod ranges;
pub mod rates;
pub mod rtt;
pub mod serve;
pub mod slack;
pub mod startup;
pub mod window;
