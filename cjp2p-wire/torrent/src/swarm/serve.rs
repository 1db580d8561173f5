//! Which blocks are sent to whom now.

use std::cmp::Reverse;
use std::time::Duration;

use cjp2p_wire::time::Time;

use super::bucket::Bucket;
use super::output::{ConnId, Event, Output};
use super::state::Swarm;
use crate::store::{PieceStore, Read};
use crate::wire::{BLOCK_HEADER, block_header};

/// So many bytes wait to be sent to a peer at the least while it is sent blocks.
const LEAST_WINDOW: usize = 32 << 10;
/// And so many at the most.
const MOST_WINDOW: usize = 1 << 20;
/// For so long they last at the rate at which it takes them.
const WINDOW_TIME: f64 = 0.25;
/// A block of a piece that somebody was sent already waits so long for those of pieces that nobody was sent.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl Swarm {
    /// Answers in turn, a block at a time, as much as each takes and the rates allow.
    pub(super) fn serve(&mut self, now: Time, store: &mut impl PieceStore) {
        let Some(fetching) = &self.fetching else { return };
        let asks =
            |id: &ConnId| self.members.get(id).is_some_and(|member| !member.connection.demands().is_empty());
        let mut waiting: Vec<ConnId> = self.active.iter().copied().filter(asks).collect();
        let first = waiting.partition_point(|&id| id <= self.last_served);
        waiting.rotate_left(first);
        let is_spreading = fetching.is_complete() && !self.spreading.is_over();
        let is_new_for_any = is_spreading
            && self.members.iter().any(|(&id, member)| {
                let is_new = |piece| self.spreading.is_new_for(piece, id);
                member.connection.demands().next(now, is_new, Duration::MAX).is_some()
            });
        let mut lost = Vec::new();
        while !waiting.is_empty() && self.upload.may(now) {
            waiting.retain(|&id| {
                let Some(member) = self.members.get_mut(&id) else { return false };
                let host = member.host;
                let connection = &mut member.connection;
                let window = (connection.up().rate(now) * WINDOW_TIME) as usize;
                let window = window.clamp(LEAST_WINDOW, MOST_WINDOW);
                let per_host = self.config.upload_rate_per_host;
                let of_host = per_host
                    .map(|rate| self.upload_of_host.entry(host).or_insert_with(|| Bucket::new(Some(rate))));
                let comes_first = |piece| !is_new_for_any || self.spreading.is_new_for(piece, id);
                let next = connection.demands().next(now, comes_first, LONGEST_WAIT);
                let Some(block) = next else { return false };
                if connection.unsent() >= window
                    || !self.upload.may(now)
                    || of_host.as_ref().is_some_and(|bucket| !bucket.may(now))
                {
                    return false;
                }
                let is_there = fetching.have().contains(block.piece)
                    && fetching.torrent().pieces.bytes_of(block).is_some();
                let mut message = vec![0; BLOCK_HEADER + block.len as usize];
                let read = match is_there {
                    true => store.read_block(block.piece, block.begin, &mut message[BLOCK_HEADER..]),
                    false => Read::Gone,
                };
                match read {
                    Read::Later => return false,
                    Read::Gone => {
                        connection.demands_mut().remove(block);
                        connection.refuse(block);
                        if is_there {
                            lost.push(block.piece);
                        }
                        return true;
                    }
                    Read::Found => {}
                }
                message[..BLOCK_HEADER].copy_from_slice(&block_header(block));
                connection.demands_mut().remove(block);
                if let Some(before) = connection.take_output(now) {
                    self.outputs.push_back(Output::Send(id, before));
                }
                connection.on_block_out(now, message.len(), block);
                self.outputs.push_back(Output::Send(id, message));
                self.upload.spend(now, u64::from(block.len));
                if let Some(bucket) = of_host {
                    bucket.spend(now, u64::from(block.len));
                }
                if is_spreading {
                    self.spreading.on_sent(block.piece, id);
                }
                self.last_served = id;
                true
            });
        }
        for piece in lost {
            if self.fetching.as_mut().is_some_and(|fetching| fetching.on_lost(piece)) {
                self.outputs.push_back(Output::Event(Event::PieceLost(piece)));
            }
        }
    }

    /// Gives slots that are free to those that gave most, and then to those that wait longest. While something is fetched, one that
    /// gave much takes the slot of one that gave little.
    pub(super) fn fill_slots(&mut self, now: Time) {
        let most = match self.config.upload_slots {
            0 => return,
            slots => slots + 1,
        };
        loop {
            let taken = self.members.values().filter(|member| member.unchoked_at.is_some()).count();
            let waiting = self.members.iter().filter(|(_, member)| {
                member.unchoked_at.is_none()
                    && member.connection.it_wants()
                    && !member.connection.parts().is_seed()
            });
            let next = waiting.min_by_key(|(_, member)| (Reverse(member.gave), member.choked_at));
            let Some((&id, next)) = next else { return };
            if taken >= most {
                let served = self.members.iter().filter(|(_, member)| member.unchoked_at.is_some());
                let least = served.min_by_key(|(_, member)| member.gave);
                let Some((&victim, _)) = least
                    .filter(|(_, member)| !self.is_complete() && next.gave > member.gave.saturating_mul(2))
                else {
                    return;
                };
                self.choke_member(now, victim, true);
            }
            self.choke_member(now, id, false);
        }
    }

    fn choke_member(&mut self, now: Time, id: ConnId, choke: bool) {
        if let Some(member) = self.members.get_mut(&id) {
            member.choke(now, choke);
            self.active.insert(id);
        }
    }
}
