//! The only part that touches the world: sockets, files, signals, the clock.

pub mod deep_path;
pub mod event_loop;
pub mod exchange;
pub mod file_lock;
pub mod holes;
pub mod in_memory;
pub mod in_order;
mod kernel_neighbours;
pub mod keys;
mod lan;
pub mod learned;
pub mod listen;
pub mod lookup;
#[cfg_attr(not(feature = "dht"), path = "no_mainline.rs")]
pub mod mainline;
pub mod names;
pub mod own_port;
pub mod partial;
pub mod partial_name;
pub mod peer_file;
pub mod peer_name;
pub mod peer_saver;
pub mod peers;
pub mod pointer_file;
pub mod random;
pub mod readiness;
pub mod sandbox;
pub mod search;
pub mod session;
pub mod signals;
pub mod state_dir;
pub mod stream_files;
pub mod tasks;
pub mod tcp;
pub mod udp;
pub mod walk;
pub mod workers;
