//! The transfer machines.

pub mod blobs;
