//! Another program and ours agree on what metainfo says.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::path::PathBuf;

use cjp2p_torrent::layout::Role;
use cjp2p_torrent::magnet::Magnet;
use cjp2p_torrent::metainfo::Metainfo;
use data_encoding::HEXLOWER;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    torrents: Vec<Torrent>,
}

#[derive(Deserialize)]
struct Torrent {
    name: String,
    metainfo_hex: String,
    info_hash: String,
    torrent_name: String,
    length: u64,
    piece_length: u32,
    pieces: u32,
    private: bool,
    trackers: Vec<Vec<String>>,
    web_seeds: Vec<String>,
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    offset: u64,
    length: u64,
    padding: bool,
}

#[test]
fn torrents_of_another_program_are_read_as_it_reads_them() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/torrents.json");
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(vectors.torrents.len(), 4);
    for torrent in vectors.torrents {
        let bytes = HEXLOWER.decode(torrent.metainfo_hex.as_bytes()).unwrap();
        let metainfo = Metainfo::parse(&bytes).unwrap();
        let (info, name) = (&metainfo.info, &torrent.name);
        assert_eq!(info.hash().to_string(), torrent.info_hash, "{name}");
        assert_eq!(info.name().as_bytes(), torrent.torrent_name.as_bytes(), "{name}");
        let (length, pieces) = (torrent.piece_length, torrent.pieces);
        assert_eq!((info.pieces().piece_length(), info.pieces().count()), (length, pieces), "{name}");
        assert_eq!((info.len(), info.is_private()), (torrent.length, torrent.private), "{name}");
        assert_eq!(metainfo.trackers, torrent.trackers, "{name}");
        assert_eq!(metainfo.web_seeds, torrent.web_seeds, "{name}");
        assert_eq!(info.layout().files().len(), torrent.files.len(), "{name}");
        for (index, (ours, theirs)) in info.layout().files().iter().zip(&torrent.files).enumerate() {
            assert_eq!((ours.offset(), ours.len()), (theirs.offset, theirs.length), "{name}");
            assert_eq!(ours.role() == Role::Padding, theirs.padding, "{name}");
            if !theirs.padding {
                assert_eq!(info.layout().path(index).as_bytes(), theirs.path.as_bytes(), "{name}");
            }
        }
        let magnet: Magnet = Magnet::of(&metainfo).to_string().parse().unwrap();
        assert_eq!(magnet.info_hash, info.hash(), "{name}");
        assert!(magnet.trackers.iter().eq(torrent.trackers.iter().flatten()), "{name}");
    }
}
