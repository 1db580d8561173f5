//! Fuzz bodies: each takes any bytes and panics where a promise does not hold. The ordinary tests call them over the
//! corpus in `tests/fuzz/corpus` and changed copies of it; `tests/fuzz/run` runs them under libFuzzer.

mod content_id;
mod conversation;
mod datagram;
mod fast_path;
mod folder;
mod forgery;
mod geometry;
mod hash_store;
mod http;
pub mod input;
mod list;
mod magnet;
mod metainfo;
pub mod mutate;
mod peer_table;
mod ranges;
mod raw;
mod resume;
mod sample;
mod scratch;
mod torrent_peer;
mod tracker;
mod tree;
mod tree_store;

/// Something that reads what others wrote.
pub struct Target {
    /// Its name, and that of the folder with its corpus.
    pub name: &'static str,
    /// Panics where a promise does not hold.
    pub body: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "content-id", body: content_id::body },
    Target { name: "conversation", body: conversation::body },
    Target { name: "datagram", body: datagram::body },
    Target { name: "fast-path", body: fast_path::body },
    Target { name: "folder", body: folder::body },
    Target { name: "forgery", body: forgery::body },
    Target { name: "geometry", body: geometry::body },
    Target { name: "hash-store", body: hash_store::body },
    Target { name: "http", body: http::body },
    Target { name: "list", body: list::body },
    Target { name: "magnet", body: magnet::body },
    Target { name: "metainfo", body: metainfo::body },
    Target { name: "peer-table", body: peer_table::body },
    Target { name: "ranges", body: ranges::body },
    Target { name: "raw", body: raw::body },
    Target { name: "resume", body: resume::body },
    Target { name: "torrent-peer", body: torrent_peer::body },
    Target { name: "tracker", body: tracker::body },
    Target { name: "tree", body: tree::body },
    Target { name: "tree-store", body: tree_store::body },
];
