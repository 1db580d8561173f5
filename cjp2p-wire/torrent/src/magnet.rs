//! Magnet links: the info hash of a torrent, and where to find peers of it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use cjp2p_wire::content_id::ContentId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::info_hash::InfoHash;
use crate::metainfo::{CJP2P_KEY, MAX_TRACKERS, MAX_WEB_SEEDS, Metainfo, is_url};

/// What a magnet link begins with.
pub const SCHEME: &str = "magnet:?";
/// Longest magnet in bytes.
pub const MAX_MAGNET: usize = 64 << 10;
/// Peers in a magnet at the most; those behind are left out.
pub const MAX_PEERS: usize = 64;
/// Runs of files in a magnet at the most; those behind are left out.
pub const MAX_SELECTED: usize = 256;

/// Everything that is not unreserved in a URI.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A magnet link to a torrent of version 1. [`fmt::Display`] writes it, and [`FromStr`] takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// What it is called, for people. Not to be used as a path.
    pub name: Option<String>,
    /// Its length in bytes, as the link says.
    pub len: Option<u64>,
    /// Trackers. [`MAX_TRACKERS`] at the most.
    pub trackers: Vec<String>,
    /// URLs of servers that have the files. [`MAX_WEB_SEEDS`] at the most.
    pub web_seeds: Vec<String>,
    /// Peers, as `HOST:PORT`. [`MAX_PEERS`] at the most.
    pub peers: Vec<String>,
    /// The files that are wanted, by their index from 0 (BEP 53); empty for all. [`MAX_SELECTED`] runs at the most.
    pub selected: Vec<RangeInclusive<u32>>,
    /// The CJP2P id of the same content.
    pub content: Option<ContentId>,
}

impl Magnet {
    /// A magnet of nothing but a hash.
    #[must_use]
    pub const fn new(info_hash: InfoHash) -> Self {
        Self {
            info_hash,
            name: None,
            len: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            peers: Vec::new(),
            selected: Vec::new(),
            content: None,
        }
    }

    /// The magnet of a torrent, with its trackers and web seeds.
    #[must_use]
    pub fn of(metainfo: &Metainfo) -> Self {
        let info = &metainfo.info;
        Self {
            name: std::str::from_utf8(info.name().as_bytes()).ok().map(str::to_owned),
            len: Some(info.len()),
            trackers: metainfo.trackers.iter().flatten().cloned().collect(),
            web_seeds: metainfo.web_seeds.clone(),
            content: metainfo.content.clone(),
            ..Self::new(info.hash())
        }
    }

    /// Whether a text is meant to be a magnet.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"))
    }

    /// Whether the file with this index is wanted.
    #[must_use]
    pub fn wants(&self, index: u32) -> bool {
        self.selected.is_empty() || self.selected.iter().any(|run| run.contains(&index))
    }

    fn take(&mut self, key: &str, value: &str) {
        match key {
            "dn" => self.name = Some(value.to_owned()),
            "xl" => self.len = value.parse().ok(),
            "tr" if is_url(value) && self.trackers.len() < MAX_TRACKERS => {
                self.trackers.push(value.to_owned())
            }
            "ws" if is_url(value) && self.web_seeds.len() < MAX_WEB_SEEDS => {
                self.web_seeds.push(value.to_owned())
            }
            "x.pe" if is_url(value) && self.peers.len() < MAX_PEERS => self.peers.push(value.to_owned()),
            "so" => self.selected = value.split(',').filter_map(run).take(MAX_SELECTED).collect(),
            CJP2P_KEY => {
                self.content =
                    ContentId::parse_any_spelling(value).ok().filter(|id| matches!(id, ContentId::Blake3(_)));
            }
            _ => {}
        }
    }
}

/// `3` or `3-5`.
fn run(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let run = first.parse().ok()?..=last.parse().ok()?;
    (!run.is_empty()).then_some(run)
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, MagnetError> {
        let start = text.get(..SCHEME.len()).filter(|start| start.eq_ignore_ascii_case(SCHEME));
        if start.is_none() || text.len() > MAX_MAGNET {
            return Err(MagnetError::NoMagnet);
        }
        let pairs = || text[SCHEME.len()..].split('&').filter_map(|pair| pair.split_once('='));
        let mut found = Err(MagnetError::NoHash);
        for (key, value) in pairs() {
            // `xt.1`, `xt.2` are of links to several things.
            if key != "xt" && !key.starts_with("xt.") {
                continue;
            }
            let value = percent_decode_str(value).decode_utf8_lossy();
            if let Some(hash) = value.strip_prefix("urn:btih:") {
                found = Ok(InfoHash::parse(hash).ok_or(MagnetError::WrongHash)?);
                break;
            }
            if value.starts_with("urn:btmh:") {
                found = Err(MagnetError::OnlyV2);
            }
        }
        let mut magnet = Magnet::new(found?);
        for (key, value) in pairs() {
            // `tr.1`, `tr.2` is another way to write several.
            let key = key.split_once('.').filter(|(name, _)| *name != "x").map_or(key, |(name, _)| name);
            // Names come from forms as well, where a plus is a space.
            let value = if key == "dn" { value.replace('+', " ") } else { value.to_owned() };
            magnet.take(key, &percent_decode_str(&value).decode_utf8_lossy());
        }
        Ok(magnet)
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}xt=urn:btih:{}", self.info_hash)?;
        let mut pair = |key: &str, value: &str| write!(f, "&{key}={}", utf8_percent_encode(value, RESERVED));
        if let Some(name) = &self.name {
            pair("dn", name)?;
        }
        if let Some(len) = self.len {
            pair("xl", &len.to_string())?;
        }
        for (key, values) in [("tr", &self.trackers), ("ws", &self.web_seeds), ("x.pe", &self.peers)] {
            values.iter().try_for_each(|value| pair(key, value))?;
        }
        if let Some(ContentId::Blake3(_)) = &self.content {
            pair(CJP2P_KEY, &self.content.iter().map(ContentId::to_string).collect::<String>())?;
        }
        for (at, run) in self.selected.iter().enumerate() {
            f.write_str(if at == 0 { "&so=" } else { "," })?;
            write!(f, "{}", run.start())?;
            if run.start() != run.end() {
                write!(f, "-{}", run.end())?;
            }
        }
        Ok(())
    }
}

/// Why a text is no magnet link to a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MagnetError {
    /// It does not begin like one, or is too long.
    NoMagnet,
    /// It links to no torrent.
    NoHash,
    /// Its hash is neither 40 hexadecimal digits nor 32 letters of base32.
    WrongHash,
    /// It links to a torrent of version 2 only (BEP 52).
    OnlyV2,
}

impl fmt::Display for MagnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MagnetError::NoMagnet => "no magnet link, which begins with magnet:? and is at most 64 KiB long",
            MagnetError::NoHash => "a magnet link without xt=urn:btih:",
            MagnetError::WrongHash => {
                "a magnet link whose hash is neither 40 hex digits nor 32 letters of base32"
            }
            MagnetError::OnlyV2 => "a magnet link to a torrent of version 2 only, which is not supported",
        })
    }
}

impl std::error::Error for MagnetError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "d0d14c926e6e99761a2fdcff27b403d96376eff6";

    fn parse(rest: &str) -> Magnet {
        format!("magnet:?xt=urn:btih:{HEX}{rest}").parse().unwrap()
    }

    #[test]
    fn all_that_a_link_says_is_read() {
        let magnet = parse(
            "&dn=a+b%20%26%C3%A9&xl=7&tr=http%3A%2F%2Ft%3A1%2Fa%3Fb%3Dc%2Bd&tr.1=udp://u:2&ws=http://w/&x.pe=1.2.3.4:5\
             &x.pe=%5B%3A%3A1%5D:6&so=0,2,4-6&foo=bar&x.cjp2p=blake3:0000000000000000000000000000000000000000000000000000000000000001",
        );
        assert_eq!(magnet.name.as_deref(), Some("a b &é"));
        assert_eq!(magnet.len, Some(7));
        assert_eq!(magnet.trackers, ["http://t:1/a?b=c+d", "udp://u:2"]);
        assert_eq!(magnet.web_seeds, ["http://w/"]);
        assert_eq!(magnet.peers, ["1.2.3.4:5", "[::1]:6"]);
        assert_eq!(magnet.selected, [0..=0, 2..=2, 4..=6]);
        assert!(magnet.wants(5) && !magnet.wants(3));
        assert!(matches!(magnet.content, Some(ContentId::Blake3(hash)) if hash[31] == 1));
        assert_eq!(magnet.to_string().parse(), Ok(magnet));
    }

    #[test]
    fn hex_base32_capitals_and_hybrid_links_are_read() {
        let hash = InfoHash::parse(HEX).unwrap();
        let base32 = data_encoding::BASE32_NOPAD.encode(hash.as_bytes());
        for text in [
            format!("magnet:?xt=urn:btih:{base32}"),
            format!("MAGNET:?xt=urn:btih:{}", HEX.to_uppercase()),
            format!("magnet:?dn=x&xt=urn:btmh:1220{}&xt=urn:btih:{HEX}", "00".repeat(32)),
            format!("magnet:?xt.1=urn:btih:{HEX}"),
            format!("magnet:?xt=urn%3Abtih%3A{HEX}"),
        ] {
            assert_eq!(text.parse::<Magnet>().map(|magnet| magnet.info_hash), Ok(hash), "{text}");
        }
    }

    #[test]
    fn what_links_to_no_torrent_of_ours_is_refused() {
        let refused = |text: &str| text.parse::<Magnet>().unwrap_err();
        assert_eq!(refused(""), MagnetError::NoMagnet);
        assert_eq!(refused("magnet"), MagnetError::NoMagnet);
        assert_eq!(refused("http://x/?xt=urn:btih:"), MagnetError::NoMagnet);
        assert_eq!(refused("magnet:?dn=x"), MagnetError::NoHash);
        assert_eq!(refused("magnet:?xt=urn:sha1:abc"), MagnetError::NoHash);
        assert_eq!(refused("magnet:?xt=urn:btih:abc"), MagnetError::WrongHash);
        assert_eq!(refused("magnet:?xt=urn:btmh:1220"), MagnetError::OnlyV2);
        assert_eq!(
            refused(&format!("magnet:?xt=urn:btih:{HEX}&dn={}", "x".repeat(MAX_MAGNET))),
            MagnetError::NoMagnet
        );
    }

    #[test]
    fn what_is_too_much_or_no_url_is_left_out() {
        let magnet = parse(&"&tr=http://t/&x.pe=h:1&ws=w".repeat(1000));
        assert_eq!(
            (magnet.trackers.len(), magnet.peers.len(), magnet.web_seeds.len()),
            (MAX_TRACKERS, MAX_PEERS, MAX_WEB_SEEDS)
        );
        let magnet = parse("&tr=a%20b&tr=%0a&tr=&ws=%ff&so=,x,5-3,1-&xl=-1&x.cjp2p=abc");
        assert_eq!(magnet, Magnet::new(magnet.info_hash));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_is_written_again(rest in ".{0,200}") {
            if let Ok(magnet) = format!("magnet:?xt=urn:btih:{HEX}&{rest}").parse::<Magnet>() {
                prop_assert_eq!(magnet.to_string().parse::<Magnet>(), Ok(magnet));
            }
        }
    }
}
