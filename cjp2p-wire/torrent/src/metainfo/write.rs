//! Writing metainfo: `info` with its own bytes, and what finds peers around it.

use bendy::encoding::ToBencode;

use super::value::{CJP2P_KEY, Metainfo};

impl Metainfo {
    /// The bytes of a `.torrent` file. The same metainfo gives the same bytes: there is neither a date nor a program in it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut trackers = self.trackers.iter().flatten();
        // The encoder writes no bytes that are encoded already, and `info` must be as it was. So only values come from it.
        let mut out = b"d".to_vec();
        if let Some(first) = trackers.next() {
            pair(&mut out, "announce", &encoded(first));
            if trackers.next().is_some() {
                pair(&mut out, "announce-list", &encoded(&self.trackers));
            }
        }
        pair(&mut out, "info", self.info.raw());
        if !self.web_seeds.is_empty() {
            pair(&mut out, "url-list", &encoded(&self.web_seeds));
        }
        if let Some(id) = &self.content {
            pair(&mut out, CJP2P_KEY, &encoded(&id.to_string()));
        }
        out.push(b'e');
        out
    }
}

/// Keys must come in the order of their bytes.
fn pair(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend_from_slice(&encoded(&key));
    out.extend_from_slice(value);
}

fn encoded(value: &impl ToBencode) -> Vec<u8> {
    value.to_bencode().expect("texts and lists of them are neither deep nor without an order")
}
