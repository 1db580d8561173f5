//! Computes CJP2P content ids.

fn main() {}
