//! Puts a host of the simulation on a real socket.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cjp2p_wire::time::Time;

use crate::sim::{HostBehaviour, Outbox};

/// How often a host's time is looked at.
const TICK: Duration = Duration::from_millis(5);

/// A host with a thread and a socket of its own. Stopped when dropped.
pub struct Host {
    /// Where it is.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts the host that `make` makes, at a port of loopback.
    ///
    /// # Panics
    ///
    /// Where loopback has no port left.
    pub fn start<C: HostBehaviour>(make: impl FnOnce() -> C + Send + 'static) -> Host {
        Host::start_at(([127, 0, 0, 1], 0).into(), make)
    }

    /// Starts it at this address.
    ///
    /// # Panics
    ///
    /// Where the address cannot be had.
    pub fn start_at<C: HostBehaviour>(
        address: SocketAddr,
        make: impl FnOnce() -> C + Send + 'static,
    ) -> Host {
        let socket = UdpSocket::bind(address).expect("a port");
        socket.set_broadcast(true).expect("an option that anybody may set");
        socket.set_read_timeout(Some(TICK)).expect("a timeout can be set");
        let address = socket.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || run(&socket, &mut make(), &stopped));
        Host { address, stop, thread: Some(thread) }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A host that panicked fails the test elsewhere.
            let _ = thread.join();
        }
    }
}

fn run(socket: &UdpSocket, host: &mut impl HostBehaviour, stop: &AtomicBool) {
    let begun = Instant::now();
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let mut out = Outbox::new();
        let now = || Time::ZERO + begun.elapsed();
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            host.handle_datagram(now(), from, &buffer[..length], &mut out);
        }
        if host.next_timeout() <= now() {
            host.handle_timeout(now(), &mut out);
        }
        for (to, bytes) in out {
            // The network may lose any datagram.
            let _ = socket.send_to(&bytes, to);
        }
    }
}
