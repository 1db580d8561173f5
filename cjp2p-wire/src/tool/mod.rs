//! What the tools have in common: exit codes, arguments, logging, progress.

pub mod exit;
