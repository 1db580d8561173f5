//! Support for the tests of the workspace.

pub mod reference_tree;
