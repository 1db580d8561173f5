//! Metainfo of torrents: what is read keeps its promises about paths, lengths and pieces, and is written again as it was.

use cjp2p_torrent::layout::{MAX_FILES, MAX_LEN};
use cjp2p_torrent::metainfo::{Info, MAX_TRACKERS, MAX_WEB_SEEDS, Metainfo};

/// Either all of a `.torrent` file, or only its `info`, as the first byte says.
pub(super) fn body(bytes: &[u8]) {
    let Some((kind, text)) = bytes.split_first() else { return };
    if kind & 1 != 0 {
        if let Ok(info) = Info::parse(text) {
            judge(&info);
        }
        return;
    }
    let Ok(metainfo) = Metainfo::parse(text) else { return };
    judge(&metainfo.info);
    assert!(metainfo.trackers.iter().flatten().count() <= MAX_TRACKERS);
    assert!(metainfo.web_seeds.len() <= MAX_WEB_SEEDS);
    let written = metainfo.to_bytes();
    let again = Metainfo::parse(&written).expect("what is written is read again");
    assert_eq!(again, metainfo);
    assert_eq!(again.to_bytes(), written);
}

fn judge(info: &Info) {
    let (layout, pieces) = (info.layout(), info.pieces());
    assert!(layout.files().len() <= MAX_FILES && (1..=MAX_LEN).contains(&info.len()));
    assert_eq!(pieces.length(), info.len());
    assert!(info.piece_hash(pieces.count() - 1).is_some() && info.piece_hash(pieces.count()).is_none());
    assert_eq!(info.name().parts().count(), 1);
    let mut end = 0;
    for (index, file) in layout.files().iter().enumerate() {
        assert_eq!(file.offset(), end, "each file begins where the one before it ends");
        end = file.range().end;
        let path = layout.path(index);
        assert!(path.parts().all(|part| !matches!(part, b"" | b"." | b"..") && !part.contains(&0)));
        assert_eq!(path.parts().next(), info.name().parts().next(), "all are below the name of the torrent");
    }
    assert_eq!(end, info.len());
    // Some ranges, and the files that have them.
    for start in [0, info.len() / 2, info.len() - 1] {
        let mut at = start;
        for (index, range) in layout.files_in(start..info.len()) {
            assert_eq!(layout.files()[index].offset() + range.start, at);
            at += range.end - range.start;
        }
        assert_eq!(at, info.len());
    }
    let raw = Info::parse(info.raw()).expect("its own bytes");
    assert_eq!(raw.hash(), info.hash());
}
