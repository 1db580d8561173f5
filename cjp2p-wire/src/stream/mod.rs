//! Live streams as values: their ids, blocks that are signed one by one, and what the origin says of the whole.
//!
//! A stream is bytes that one key signs as they come. Block n is the bytes from n × [`BLOCK_LEN`] on; the last may be shorter, and grow.
//! What is right has types of its own, whose makers sign or verify: [`SignedBlock`] and [`SignedStatement`].

pub mod block;
pub mod id;
pub mod marks;
pub mod record;
pub mod statement;

pub use block::{BLOCK_LEN, BlockClaim, RECORD_LEN, SignedBlock};
pub use id::{StreamId, StreamIdError};
pub use statement::{Join, MAX_JOINS, MAX_PARTS, SignedStatement, Statement};
