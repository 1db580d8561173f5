//! Asking trackers, by a process of its own that is started before this one is confined.
//!
//! A tracker is named by strangers, is reached by whatever the system looks its name up with, and answers at its leisure. So that is
//! done in a process that has no files, no peers and no keys: this program once more, told the questions by standard input. It
//! is confined to looking up names and connecting. When standard input is closed it says good-bye to trackers, for five seconds at
//! the most, and ends.

mod announcing;
mod asking;
mod http;
mod line;
mod process;
#[cfg(test)]
mod tests;
mod udp;

pub use announcing::{Announcing, Figures, Ours};
pub use asking::{ARGUMENT, Trackers};
pub use process::run;
