//! What is signed: keys, messages under a signature, and pointers, by which a name stands for the newest of something.
//!
//! A [`SignedMessage`] is the text of an array of messages, the key of who says it, and the signature. It shows who says
//! something, wherever it comes from. Whether that is new, it does not show: each kind of message brings its own rule for that, as a
//! pointer its `seq`.
//!
//! Of keys and signatures a value may be wrong. What is right has a type of its own, whose only makers sign or verify:
//! [`SignedPointer`].

pub mod envelope;
pub mod key;
pub mod name;
pub mod pointer;

pub use envelope::{MAX_PAYLOAD_LEN, SignedMessage};
pub use key::{PublicKey, Signature, SigningKey};
pub use name::{NameError, PointerId, PointerName};
pub use pointer::{Claim, Pointer, PointsTo, SignedPointer, next_seq};
