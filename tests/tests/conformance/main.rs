//! What other programs must agree with: vectors, messages, foreign nodes, and all that a reader may be given.

mod folder_vectors;
mod foreign_nodes;
mod fuzz_corpus;
mod messages;
mod signed;
mod streams;
mod torrent_vectors;
mod tree_vectors;
