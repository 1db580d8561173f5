//! How much of what is fetched for a folder is short, and comes to memory.

use cjp2p_wire::time::Time;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Short {
    /// Those that most likely come.
    pub(super) count: usize,
    /// Those for which all known peers are asked.
    pub(super) in_vain: usize,
    /// Bytes of all of them.
    pub(super) bytes: u64,
    /// When it was last looked whether all known peers are to be asked for some.
    pub(super) looked_at: Time,
}
