//! Datagrams: bytes to messages, and messages to bytes.

mod decode;
mod encode;
mod fast_path;
mod numbers;
pub mod raw;
#[cfg(test)]
mod testing;

pub use decode::{DatagramError, MAX_MESSAGES, decode, decode_into};
pub use encode::{Encoder, Mark, Padding, content_that_fits};
pub use numbers::digits_of;
