//! A lab: hosts, and a thread that plays the wires between them by the real clock.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cjp2p_wire::time::Time;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl;
use rustix::process::setpriority_process;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::wires::{MOST_HOSTS, Traffic, Wires, address};
use super::{Error, Namespace};
use crate::sim::Link;

/// The port that programs of a lab listen at.
pub const PORT: u16 = 24254;

/// Packets that an interface keeps until the wires take them: more than any program sends at once.
const INTERFACE_QUEUE: u32 = 10_000;

/// How many packets of one interface are taken before others get their turn.
const BATCH: usize = 64;

/// How long the wires wait where nothing is due: they look whether to stop.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// Hosts in network namespaces, each with one interface, joined by wires.
pub struct Lab {
    hosts: Vec<Namespace>,
    wires: Arc<Mutex<Wires>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    /// Hosts with these links, numbered from zero. `seed` decides which packets are lost.
    ///
    /// # Errors
    ///
    /// Where the system refuses: not root, no TUN interfaces.
    pub fn start(links: &[Link], seed: u64) -> Result<Lab, Error> {
        if links.len() > MOST_HOSTS {
            return Err(format!("more than {MOST_HOSTS} hosts").into());
        }
        let mut hosts = Vec::new();
        let mut interfaces = Vec::new();
        for (number, link) in links.iter().enumerate() {
            let host = Namespace::new().map_err(|error| format!("network namespace: {error}"))?;
            let mtu = u16::try_from(link.mtu)?;
            let interface = host.run(move || open_interface(number, mtu))?;
            interfaces.push(interface.map_err(|error| format!("TUN interface: {error}"))?);
            hosts.push(host);
        }
        let wires = Arc::new(Mutex::new(Wires::new(links, seed)));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (wires, stop) = (wires.clone(), stop.clone());
            move || play(&interfaces, &wires, &stop)
        });
        Ok(Lab { hosts, wires, stop, thread: Some(thread) })
    }

    /// The wires, to change and to look at. The hosts hear nothing while this is held.
    pub fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a host sent and received so far.
    pub fn traffic(&self, host: usize) -> Traffic {
        self.wires().traffic(host)
    }

    /// Where programs on this host listen.
    pub fn address(&self, host: usize) -> SocketAddr {
        (address(host), PORT).into()
    }

    /// Starts a program on a host, by a [`command`](super::namespace::command).
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn spawn(&self, host: usize, command: Command) -> Result<Child, Error> {
        self.hosts[host].spawn(command)
    }

    /// Does something on a host: sockets and threads made there belong to it.
    ///
    /// # Errors
    ///
    /// Where that panicked.
    pub fn run<R: Send + 'static>(
        &self,
        host: usize,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Error> {
        self.hosts[host].run(job)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Where the wires panicked, the run has failed already.
            let _ = thread.join();
        }
    }
}

fn open_interface(host: usize, mtu: u16) -> io::Result<SyncDevice> {
    let builder = DeviceBuilder::new().name("wire").mtu(mtu).tx_queue_len(INTERFACE_QUEUE);
    let interface = builder.ipv4(address(host), 24, None).build_sync()?;
    interface.set_nonblocking(true)?;
    Ok(interface)
}

/// Plays the wires until it is to stop.
fn play(interfaces: &[SyncDevice], wires: &Mutex<Wires>, stop: &AtomicBool) {
    let begun = Instant::now();
    let now = || Time::ZERO + begun.elapsed();
    let lock = || wires.lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffer = vec![0; 65_536];
    let mut ready = vec![true; interfaces.len()];
    // Wires are not to wait for the programs that they join, nor to be woken up to 50 microseconds late, as the kernel
    // does by default. Where it refuses, the table shows how exact they are.
    let _ = (setpriority_process(None, -20), prctl::set_timerslack(1));
    while !stop.load(Ordering::Relaxed) {
        for (host, interface) in interfaces.iter().enumerate().filter(|(host, _)| ready[*host]) {
            for _ in 0..BATCH {
                let Ok(length) = interface.recv(&mut buffer) else { break };
                let packet = buffer[..length].to_vec();
                lock().send(now(), host, packet);
            }
        }
        let next = loop {
            let mut wires = lock();
            let Some((host, packet)) = wires.receive(now()) else {
                break wires.next_due();
            };
            drop(wires);
            // An interface may refuse what it cannot take: the packet is lost.
            let _ = interfaces[host].send(&packet);
        };
        let wait = next.map_or(LONGEST_WAIT, |at| at.since(now()).min(LONGEST_WAIT));
        let mut polled: Vec<PollFd<'_>> =
            interfaces.iter().map(|interface| PollFd::new(interface.as_fd(), PollFlags::POLLIN)).collect();
        match ppoll(&mut polled, Some(wait.into()), None) {
            Ok(_) => ready = polled.iter().map(|polled| polled.any() == Some(true)).collect(),
            Err(_) => ready.fill(true),
        }
    }
}
