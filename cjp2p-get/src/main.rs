//! Fetches content by id over CJP2P, to standard output or a file.

fn main() {}
