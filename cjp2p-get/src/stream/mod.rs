//! Viewing a stream: the bytes that one key signs as they come, in order, verified, to standard output or a file.
//!
//! What comes is kept in memory for others; [the cursor](cjp2p_io::stream_files::cursor) says what comes next, a thread
//! [writes it](outlet), and the node is told how far that is: what it asks for follows from that.

mod delay;
mod late;
mod outlet;
mod place;
mod report;
mod run;
mod store;
mod viewer;

pub(crate) use run::{is_stream, run};
