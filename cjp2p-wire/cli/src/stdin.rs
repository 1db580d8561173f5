//! Standard input, as programs and people leave it to us: closed, or set not to block.

use std::io::{self, Read};
use std::os::fd::AsFd;

use cjp2p_stdio::{Standard, was_closed};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;

/// Standard input.
///
/// # Errors
///
/// It was closed when the process started, which is not the same as an empty one.
pub fn open() -> io::Result<Waiting<io::Stdin>> {
    if was_closed(Standard::Input) { Err(Errno::BADF.into()) } else { Ok(Waiting(io::stdin())) }
}

/// Reads, and waits as long as it takes where that says that it would block.
#[derive(Debug)]
pub struct Waiting<R>(pub R);

impl<R: Read + AsFd> Read for Waiting<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Should it fail, the next read says why.
                    let _ = poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                }
                read => return read,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Write};
    use std::thread;
    use std::time::Duration;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    #[test]
    fn what_would_block_is_waited_for() {
        let (reader, mut writer): (PipeReader, PipeWriter) = io::pipe().unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let writing = thread::spawn(move || {
            for byte in 0..5 {
                thread::sleep(Duration::from_millis(5));
                writer.write_all(&[byte]).unwrap();
            }
        });
        let mut found = Vec::new();
        Waiting(reader).read_to_end(&mut found).unwrap();
        assert_eq!(found, [0, 1, 2, 3, 4]);
        writing.join().unwrap();
    }
}
