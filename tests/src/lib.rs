//! Support for the tests of the workspace: the simulated network and its hosts, the real programs over emulated
//! links, content to move, and reference implementations that are slow and obviously right.

pub mod alone;
pub mod at_once;
pub mod content;
pub mod faults;
pub mod foreign;
pub mod fuzz;
pub mod imports;
pub mod lab;
pub mod pair;
pub mod real;
pub mod reference_tree;
pub mod reflection;
pub mod sim;
pub mod table;
