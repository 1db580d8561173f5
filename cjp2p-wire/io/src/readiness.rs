//! Which of many sockets can be read or written now: what TCP connections wait for, beside the one UDP socket of a node.
//!
//! A set is itself a descriptor that can be waited for, so [`EventLoop::watch`](crate::event_loop::EventLoop::watch) takes it
//! whatever is in it, and a turn costs nothing for connections that are idle.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What is taken at once; the rest comes with the next call.
const MOST_AT_ONCE: usize = 256;

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Until there is something to read, or the other side ended.
    pub read: bool,
    /// Until something can be written.
    pub write: bool,
}

impl Interest {
    /// To read.
    pub const READ: Interest = Interest { read: true, write: false };
    /// To write.
    pub const WRITE: Interest = Interest { read: false, write: true };
    /// Both.
    pub const BOTH: Interest = Interest { read: true, write: true };
    /// Neither: only that the other side is gone for good is told.
    pub const NONE: Interest = Interest { read: false, write: false };

    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, self.read);
        flags.set(EpollFlags::EPOLLOUT, self.write);
        flags
    }
}

/// A descriptor that is ready. It is told again as long as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// As given to [`Readiness::add`].
    pub token: u64,
    /// There is something to read: bytes, an end, or an error.
    pub read: bool,
    /// Something can be written, or an attempt tells an error.
    pub write: bool,
    /// The connection is gone, both ways.
    pub gone: bool,
}

/// See the [module](self). A clone is the same set.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Epoll>);

impl Readiness {
    /// A set with nothing in it.
    ///
    /// # Errors
    ///
    /// Where the system has no descriptor left.
    pub fn new() -> io::Result<Readiness> {
        Ok(Readiness(Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?)))
    }

    /// Waits for this descriptor too. It leaves the set when it is closed.
    ///
    /// # Errors
    ///
    /// Where it is in the set, cannot be waited for, or the user's limit is reached.
    pub fn add(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.0.add(descriptor, EpollEvent::new(interest.flags(), token))?)
    }

    /// Waits for something else of a descriptor in the set.
    ///
    /// # Errors
    ///
    /// Where it is not in the set.
    pub fn change(&self, descriptor: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.0.modify(descriptor, &mut EpollEvent::new(interest.flags(), token))?)
    }

    /// Waits for this descriptor no more.
    ///
    /// # Errors
    ///
    /// Where it is not in the set.
    pub fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(self.0.delete(descriptor)?)
    }

    /// Adds to `ready` what is ready now, up to 256 at a time, in turn. Does not wait.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses.
    pub fn take(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); MOST_AT_ONCE];
        let count = match self.0.wait(&mut events, EpollTimeout::ZERO) {
            Err(Errno::EINTR) => 0,
            taken => taken?,
        };
        ready.extend(events.iter().take(count).map(|event| {
            let flags = event.events();
            let gone = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Ready {
                token: event.data(),
                read: gone || flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP),
                write: gone || flags.contains(EpollFlags::EPOLLOUT),
                gone,
            }
        }));
        Ok(())
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write};
    use std::time::Duration;

    use cjp2p_wire::store::NothingShared;

    use super::*;
    use crate::event_loop::EventLoop;
    use crate::session::Session;
    use crate::tcp;
    use crate::udp::UdpPort;

    fn taken(set: &Readiness) -> Vec<Ready> {
        let mut ready = Vec::new();
        set.take(&mut ready).unwrap();
        ready
    }

    #[test]
    fn a_connection_is_told_when_it_comes_when_it_can_be_read_and_when_it_ends() {
        let set = Readiness::new().unwrap();
        let listener = tcp::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        set.add(&listener, 1, Interest::READ).unwrap();
        let port = UdpPort::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let event_loop = EventLoop::new(port, None).unwrap();
        let mut session = Session::start(event_loop, Default::default(), NothingShared).unwrap();
        session.watch(&set);
        let mut until_ready = || {
            let until = session.now() + Duration::from_secs(60);
            while session.now() < until {
                if session.turn(until).unwrap().ready {
                    return taken(&set);
                }
            }
            panic!("nothing was ready");
        };

        let mut caller = tcp::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(until_ready(), [Ready { token: 1, read: true, write: false, gone: false }]);
        let (mut called, _) = tcp::accept(&listener).unwrap().expect("somebody calls");
        assert!(tcp::accept(&listener).unwrap().is_none());
        set.add(&called, 2, Interest::NONE).unwrap();
        assert!(taken(&set).is_empty());
        set.change(&called, 2, Interest::WRITE).unwrap();
        assert_eq!(taken(&set), [Ready { token: 2, read: false, write: true, gone: false }]);
        set.change(&called, 2, Interest::READ).unwrap();
        caller.write_all(b"hello").unwrap();
        assert_eq!(until_ready(), [Ready { token: 2, read: true, write: false, gone: false }]);
        assert_eq!(called.read(&mut [0; 9]).unwrap(), 5);
        drop(caller);
        assert!(until_ready()[0].read);
        assert_eq!(called.read(&mut [0; 9]).unwrap(), 0);
        set.remove(&called).unwrap();
        assert!(taken(&set).is_empty());
    }
}
