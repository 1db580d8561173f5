//! Magnet links: what is read is bounded, and written as a link that says the same.

use cjp2p_torrent::magnet::{MAX_PEERS, MAX_SELECTED, Magnet};

pub(super) fn body(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in [text.clone().into_owned(), format!("magnet:?xt=urn:btih:{}&{text}", "0a".repeat(20))] {
        let Ok(magnet) = text.parse::<Magnet>() else { continue };
        assert!(Magnet::is_meant(&text));
        assert!(magnet.peers.len() <= MAX_PEERS && magnet.selected.len() <= MAX_SELECTED);
        let written = magnet.to_string();
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic()), "{written:?}");
        assert_eq!(written.parse(), Ok(magnet));
    }
}
