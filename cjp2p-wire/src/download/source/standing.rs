//! `Standing`: how far we got with a peer.

/// How far we got with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::download) enum Standing {
    /// It has not answered yet.
    Unknown,
    /// It sent some of the content.
    Serving,
    /// It said that it has nothing of it.
    Absent,
    /// It is a leecher, and has nothing of it yet.
    Waiting,
    /// It sent something wrong. It is not asked again.
    Liar,
}
