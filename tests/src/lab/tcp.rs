//! A long flow of TCP from one host of a lab to another, for comparison.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::{Error, Lab};

/// How long a side waits for the other before it looks whether to stop.
const LOOK: Duration = Duration::from_millis(100);

/// A flow that goes on until this is dropped.
pub struct TcpFlow {
    stop: Arc<AtomicBool>,
}

impl TcpFlow {
    /// Starts to send from one host to another, by this congestion control of the kernel (`cubic`, `bbr`).
    ///
    /// # Errors
    ///
    /// Where the kernel does not have it, or a socket cannot be opened.
    pub fn start(lab: &Lab, from: usize, to: usize, congestion_control: &str) -> Result<TcpFlow, Error> {
        let mut address = lab.address(from);
        address.set_port(8080);
        let name = OsString::from(congestion_control);
        let stop = Arc::new(AtomicBool::new(false));
        let (sending, receiving) = (stop.clone(), stop.clone());
        let listening = lab.run(from, move || -> io::Result<()> {
            let listener = TcpListener::bind(address)?;
            setsockopt(&listener, sockopt::TcpCongestion, &name)?;
            std::thread::spawn(move || listener.accept().map(|(stream, _)| send(stream, &sending)));
            Ok(())
        })?;
        listening.map_err(|error| format!("TCP with {congestion_control}: {error}"))?;
        lab.run(to, move || std::thread::spawn(move || receive(address, &receiving)))?;
        Ok(TcpFlow { stop })
    }
}

impl Drop for TcpFlow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Ends with the flow: an error of the connection is such an end too, and shows in what was moved.
fn send(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    stream.set_write_timeout(Some(LOOK))?;
    let zeros = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        match stream.write(&zeros) {
            Err(error) if !is_a_pause(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn receive(address: std::net::SocketAddr, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LOOK))?;
    let mut buffer = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if !is_a_pause(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_a_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
