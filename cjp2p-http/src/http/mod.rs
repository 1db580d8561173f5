//! HTTP/1.1 without a socket or a clock: bytes and time in, bytes and wants out.
//!
//! A [`Connection`] reads [`Request`]s and sends [`Answer`]s, one after another. What an answer should be is its owner's choice, with the
//! help of [`ranges`] and [`conditions`]. Bytes of content are not copied through here: the connection says which come next.

pub mod conditions;
pub mod connection;
pub mod content;
pub mod limits;
mod outgoing;
pub mod ranges;
pub mod request;
pub mod response;

pub use connection::{Connection, End};
pub use outgoing::ToSend;
pub use request::{Method, Request};
pub use response::{Answer, Body, Head, Piece};
