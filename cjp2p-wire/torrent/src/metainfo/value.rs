//! `Metainfo`: what a `.torrent` file holds, as a value.

use std::sync::Arc;

use cjp2p_wire::content_id::ContentId;

use super::info::Info;

/// Trackers of a torrent at the most; those behind are left out.
pub const MAX_TRACKERS: usize = 128;
/// Web seeds of a torrent at the most; those behind are left out.
pub const MAX_WEB_SEEDS: usize = 64;
/// Longest URL in bytes; longer ones are left out.
pub const MAX_URL: usize = 2048;
/// The key and the parameter by which metainfo and magnets of ours name the same content in CJP2P; others pass it over.
pub const CJP2P_KEY: &str = "x.cjp2p";

/// What a `.torrent` file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metainfo {
    /// What the info hash is of.
    pub info: Arc<Info>,
    /// Trackers in tiers (BEP 12): those of a later one are asked where all of the earlier ones fail. [`MAX_TRACKERS`] in all.
    pub trackers: Vec<Vec<String>>,
    /// URLs of servers that have the files (BEP 19). [`MAX_WEB_SEEDS`] at the most.
    pub web_seeds: Vec<String>,
    /// The CJP2P id of the file, where the torrent has one file and its maker said so.
    pub content: Option<ContentId>,
}

impl Metainfo {
    /// Metainfo without trackers.
    #[must_use]
    pub fn new(info: Info) -> Self {
        Self { info: Arc::new(info), trackers: Vec::new(), web_seeds: Vec::new(), content: None }
    }
}

/// Whether a text can be a URL here: not empty or too long, one line of visible ASCII.
#[must_use]
pub fn is_url(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_URL && text.bytes().all(|byte| byte.is_ascii_graphic())
}
