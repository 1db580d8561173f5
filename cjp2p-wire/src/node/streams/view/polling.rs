//! Asking other programs, which give a stream block by block to whoever asks.

use std::net::SocketAddr;

use super::{AWAIT_STATEMENT, View};
use crate::datagram::Encoder;
use crate::message::ContentRequest;
use crate::node::shared::Shared;
use crate::node::stream_event::Start;
use crate::node::streams::source::Source;
use crate::stream::BLOCK_LEN;
use crate::time::Time;

impl View {
    /// Other programs that give it.
    fn plain(&self) -> Vec<SocketAddr> {
        self.sources.iter().filter(|(_, source)| source.is_plain).map(|(&address, _)| address).collect()
    }

    /// Whether blocks are asked for one by one: nobody sends them as they come.
    pub(super) fn polls(&self) -> bool {
        let is_plain = |source: &Source| source.is_plain;
        self.parent.is_none() && !self.is_complete() && self.sources.values().any(is_plain)
    }

    /// Asks other programs for blocks, those that were asked for in vain of another each time.
    pub(super) fn poll(&mut self, shared: &mut Shared, now: Time) {
        if !self.polls() || self.polls.next_at() > now {
            return;
        }
        let due = match &self.window {
            Some(window) => self.polls.due(now, window),
            None => {
                // First it is seen whether anybody says where to begin.
                let from = self.answered_at.unwrap_or(now) + AWAIT_STATEMENT;
                if now < from {
                    return self.polls.wait_until(from);
                }
                match (self.options.from, self.polls.search(now)) {
                    (Start::Oldest, _) => return self.start(0),
                    (_, Ok(points)) => points.into_iter().map(|index| (index, 0)).collect(),
                    (_, Err(newest)) => return self.start(newest * BLOCK_LEN as u64),
                }
            }
        };
        let plain = self.plain();
        let id = self.id.to_string();
        for (index, tries) in due {
            let to = plain[tries as usize % plain.len()];
            let mut encoder = Encoder::new();
            shared.write_cookies(now, to, true, &mut encoder);
            encoder.request(&ContentRequest::plain(&*id, index * BLOCK_LEN as u64, BLOCK_LEN as u64));
            shared.send(to, encoder.finish(0));
        }
    }
}
