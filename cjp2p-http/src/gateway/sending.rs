//! What is sent to a client: bytes from memory, and content from its file by the kernel, without a copy.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::sync::Arc;

use cjp2p_io::in_memory;
use cjp2p_io::partial::group::Group;
use cjp2p_io::partial::reading::read_through;
use rustix::fs::sendfile;
use rustix::io::Errno;

use super::Gateway;
use super::client::Token;
use super::outcome::Outcome;
use crate::http::ToSend;

/// Bytes that one client is sent before others have their turn.
const TURN: u64 = 512 << 10;
/// Bytes that are sent by one call; and brought into memory by one, if they are not there.
const PIECE: u64 = 128 << 10;

/// What came of an attempt to send.
enum Sent {
    /// So many bytes.
    Bytes(u64),
    /// The socket takes no more now.
    Full,
    /// It has to be read from a disk first.
    Cold(Group),
    /// The client is gone.
    Gone,
    /// The cache cannot be read.
    Unreadable,
}

impl Gateway {
    /// Sends as much as the client takes now, within its turn.
    pub(super) fn send(&mut self, token: Token) {
        let now = self.session.now();
        let mut left = TURN;
        let mut is_planned = true;
        let mut slot = None;
        loop {
            let Some(client) = self.clients.get_mut(&token) else { return };
            if client.is_full || client.is_warming {
                break;
            }
            let entry = client.reading.as_ref().and_then(|reading| {
                slot = reading.slot;
                self.session.store().get(reading.slot?)
            });
            let (sent, is_content) = match client.connection.to_send() {
                None => break,
                Some(ToSend::Bytes(bytes)) => (send_bytes(&mut client.stream, bytes), false),
                Some(ToSend::Content(range)) => {
                    let available = entry.map_or(0, |entry| entry.available(range.clone()));
                    let Some(entry) = entry.filter(|_| available > 0) else {
                        client.connection.on_waiting(now);
                        break;
                    };
                    let count = available.min(PIECE).min(left.max(1));
                    let may_wait = std::mem::take(&mut client.is_warm);
                    (send_file(&client.stream, entry.file(), range.start, count, may_wait), true)
                }
            };
            match sent {
                Sent::Bytes(count) => {
                    client.connection.on_sent(now, count);
                    self.bytes_sent += count;
                    left = left.saturating_sub(count);
                    if let Some(reading) = client.reading.as_mut().filter(|_| is_content) {
                        reading.ahead.on_taken(now, count);
                        is_planned &= reading.until_planned > count;
                        reading.until_planned = reading.until_planned.saturating_sub(count);
                    }
                    if left == 0 {
                        // It is told again that the socket takes more.
                        client.is_full = true;
                    }
                }
                Sent::Full => client.is_full = true,
                Sent::Cold(group) => {
                    client.is_warming = true;
                    self.leaves.run(move || {
                        // Whoever reads it next meets the error too.
                        let _ = read_through(&group.file, group.range, |_| ());
                        Outcome::WarmedFor(token)
                    });
                }
                Sent::Gone => client.connection.fail(),
                Sent::Unreadable => {
                    log::warn!("the cache cannot be read: an answer is broken off");
                    client.connection.fail();
                }
            }
            if client.connection.is_over().is_some() {
                break;
            }
        }
        let is_all_sent = self.clients.get(&token).is_some_and(|client| {
            client.reading.as_ref().is_some_and(|reading| reading.is_answered)
                && !client.connection.is_sending()
        });
        if is_all_sent {
            self.detach(token);
        } else if let Some(slot) = slot.filter(|_| !is_planned) {
            self.plan(slot);
        }
    }
}

fn send_bytes(stream: &mut std::net::TcpStream, bytes: &[u8]) -> Sent {
    match stream.write(bytes) {
        Ok(count) => Sent::Bytes(count as u64),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Sent::Full,
        Err(error) if error.kind() == ErrorKind::Interrupted => Sent::Bytes(0),
        Err(_) => Sent::Gone,
    }
}

/// Sends `count` bytes of a file from `offset` on. Unless it `may_wait` for a disk, only what is in memory.
fn send_file(
    stream: &std::net::TcpStream,
    file: &Arc<File>,
    offset: u64,
    count: u64,
    may_wait: bool,
) -> Sent {
    if !may_wait && !is_in_memory(file, offset, count) {
        return Sent::Cold(Group { file: file.clone(), range: offset..offset + count });
    }
    let mut at = offset;
    match sendfile(stream, file, Some(&mut at), usize::try_from(count).unwrap_or(usize::MAX)) {
        // The file is shorter than it was.
        Ok(0) => Sent::Unreadable,
        Ok(count) => Sent::Bytes(count as u64),
        Err(Errno::AGAIN) => Sent::Full,
        Err(Errno::INTR) => Sent::Bytes(0),
        Err(Errno::IO) => Sent::Unreadable,
        Err(_) => Sent::Gone,
    }
}

/// Whether the ends of a piece of a file are in memory, and so most likely all of it.
fn is_in_memory(file: &File, offset: u64, count: u64) -> bool {
    [offset, offset + count - 1].into_iter().all(|at| match in_memory::read_exact_at(file, &mut [0], at) {
        Err(error) => error.kind() != ErrorKind::WouldBlock,
        Ok(()) => true,
    })
}
