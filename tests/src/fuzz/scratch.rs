//! A folder for what an input is written to.

use crate::lab::scratch::in_memory;

/// A folder for one input.
pub(super) fn scratch() -> tempfile::TempDir {
    in_memory().expect("a scratch folder can be made")
}
