//! The destinations of content: what becomes of bytes from when they are verified, or staged, to the end.

mod destination;
mod excerpt;
pub(crate) mod memory;
pub(crate) mod partial;
pub(crate) mod prepare;
pub(crate) mod publish;
pub(crate) mod stream;
pub(crate) mod temporary;

pub(crate) use destination::{Destination, Publication};
use stream::Output;
use temporary::Temporary;

/// The way to standard output or a device, for the one content that goes there.
pub(crate) enum Outlet {
    /// As it comes, verified.
    Stream(Output),
    /// By a file without a name.
    Whole(Temporary),
}
