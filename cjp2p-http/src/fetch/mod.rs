//! What to fetch, by what is being read: the next bytes of each reader first, and then what comes next.

pub(crate) mod plan;
pub(crate) mod read_ahead;
