//! Shares a directory over CJP2P.

fn main() {}
