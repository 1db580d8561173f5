//! The hash tree `blake3_tree_v2`.
