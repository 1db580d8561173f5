//! Foreign nodes as hosts of the simulated network: what they say, what they understand, and what they die of, as
//! seen on the wire. Where such a node would end, or would lose what it has, its stand-in panics, so that a test fails.

mod json;
pub mod ruby;
pub mod rust_february;
pub mod rust_today;

pub use json::BLOCK;
pub use ruby::Ruby;
pub use rust_february::RustFebruary;
pub use rust_today::RustToday;
