//! `Client`: a connection, and what it reads.

use std::net::{IpAddr, SocketAddr, TcpStream};

use cjp2p_io::readiness::Interest;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

use super::reading::Reading;
use crate::http::Connection;
use crate::upload::Upload;

/// Names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(pub(super) u64);

/// A client.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    /// The address of this machine that it came to.
    pub(super) to: IpAddr,
    pub(super) from: SocketAddr,
    pub(super) connection: Connection,
    /// What its socket is waited for.
    pub(super) interest: Interest,
    /// What it reads, if anything.
    pub(super) reading: Option<Box<Reading>>,
    /// Its socket took no more.
    pub(super) is_full: bool,
    /// A thread brings what is to be sent into memory.
    pub(super) is_warming: bool,
    /// What is to be sent was brought into memory just now: it is sent though it may not be there.
    pub(super) is_warm: bool,
    /// A file that it sends.
    pub(super) upload: Option<Upload>,
    /// The view of the stream that it is sent.
    pub(super) viewing: Option<JobId>,
    /// It is told what goes on.
    pub(super) is_watching: bool,
    /// It was told that nothing more comes.
    pub(super) is_shut: bool,
    /// When something last came from it.
    pub(super) since: Time,
}

impl Client {
    /// One that has just come from an address, to another.
    pub(super) fn new(now: Time, stream: TcpStream, to: IpAddr, from: SocketAddr) -> Client {
        Client {
            stream,
            to,
            from,
            connection: Connection::new(now),
            interest: Interest::READ,
            reading: None,
            is_full: false,
            is_warming: false,
            is_warm: false,
            upload: None,
            viewing: None,
            is_watching: false,
            is_shut: false,
            since: now,
        }
    }
}
