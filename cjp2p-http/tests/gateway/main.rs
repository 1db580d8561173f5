//! The gateway as its clients see it: the real program, a peer on loopback, and plain sockets.

mod cache;
mod faults;
mod folders;
mod requests;
mod service;
mod support;
mod uploads;
