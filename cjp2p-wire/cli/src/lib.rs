//! What the tools have in common: how they start and end, arguments, logging, progress, standard streams.

pub mod args;
mod bar;
pub mod duration;
mod error;
pub mod exit;
pub mod list;
pub mod logging;
pub mod network;
pub mod progress;
pub mod prometheus;
mod rate;
pub mod size;
pub mod start;
pub mod stderr;
pub mod stdin;
pub mod stdout;

pub use error::ToolError;
pub use exit::Exit;
pub use start::run_tool;
