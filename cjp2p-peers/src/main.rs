//! Prints and edits the CJP2P peer table as JSON.

fn main() {}
