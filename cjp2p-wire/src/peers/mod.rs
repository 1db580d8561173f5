//! Who we know.
pub mod cookie;
