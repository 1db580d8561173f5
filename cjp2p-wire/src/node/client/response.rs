//! Taking in what answers our requests: content, refusals, and what sources say of themselves.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::Client;
use super::handles::RawRun;
use super::peer_path::{Came, Flight};
use crate::content_id::ContentId;
use crate::download::{Ask, Block, Space};
use crate::message::{ContentBlock, Message, Referral};
use crate::node::inbound::Inbound;
use crate::node::shared::Shared;
use crate::path::in_flight::RequestedBlock;
use crate::slices::Slices;
use crate::store::{JobId, Store};
use crate::time::Time;
use crate::tree::LEAF_LEN;

/// What a block answers.
struct Answered {
    job: JobId,
    asked: RequestedBlock,
}

impl Client {
    /// Takes in what answers our requests, of a datagram that is believed.
    pub(crate) fn take(
        &mut self,
        shared: &mut Shared,
        now: Time,
        inbound: &Inbound<'_>,
        store: &mut dyn Store,
    ) {
        if let Some(path) = self.paths.get_mut(inbound.from) {
            path.path.set_waited_here(inbound.waited);
        }
        for message in inbound.answers() {
            match message {
                Message::Content(block) => self.take_content(shared, now, inbound, block, store),
                Message::ThisWaited(waited) if inbound.is_validated() => {
                    if let Some(path) = self.paths.get_mut(inbound.from) {
                        path.path.on_waited(waited.number, waited.time);
                    }
                }
                Message::TheseIdsNameTheSameContent(ids) if inbound.is_validated() => {
                    self.take_hint(now, inbound.from, ids, store);
                }
                Message::IHaveTheseParts(told) => self.take_parts(now, inbound, told, store),
                Message::MaybeTheyHaveSome(referral) if !inbound.gives(&referral.id) => {
                    self.take_refusal(now, inbound.from, referral);
                    if referral.withdrawn && inbound.is_validated() {
                        self.take_withdrawal(now, inbound.from, &referral.id);
                    }
                }
                _ => {}
            }
        }
        if inbound.is_validated() {
            self.take_content_told(shared, now, inbound);
        }
    }

    /// Takes in raw content, if it was asked for under this handle of this peer. Only that peer can know the handle, so nothing else
    /// need show who it is. Returns whether it has this handle.
    pub(crate) fn take_raw(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        run: &RawRun<'_>,
        store: &mut dyn Store,
    ) -> bool {
        let found = self.paths.get(from).and_then(|path| path.handles.find(now, run.handle));
        let Some((job, space)) = found else {
            log::debug!("{from}: bytes under a handle that it does not have");
            return false;
        };
        self.downloads.on_taken(job);
        shared.contacts.on_raw_content(now, from);
        if let Some(path) = self.paths.get_mut(from) {
            path.path.set_waited_here(run.waited);
        }
        let (mut offset, mut pieces) = (run.offset, run.pieces);
        while let [first, ..] = pieces {
            let Some(path) = self.paths.get(from) else { return true };
            let asked = path.answered_by(job, space, offset);
            let exact = asked.map_or(0, |asked| path.exact(asked, offset, pieces));
            let count = (exact as usize).max(1);
            match asked {
                Some(asked) if exact > 1 => {
                    let data = Slices::new(&pieces[..count]);
                    let block = Block { space, offset, data, length: run.eof, answers: true };
                    self.take_blocks(now, from, Answered { job, asked }, exact, &block, store);
                }
                Some(asked) => {
                    let data = Slices::new(&pieces[..1]);
                    let block = Block { space, offset, data, length: run.eof, answers: true };
                    self.take_block(shared, now, from, Answered { job, asked }, &block, store);
                }
                None => {
                    if let Some(download) = self.downloads.get_mut(job) {
                        download.on_unwanted(first.len() as u64);
                    }
                }
            }
            offset += pieces[..count].iter().map(|piece| piece.len() as u64).sum::<u64>();
            pieces = &pieces[count..];
        }
        self.downloads.rest(now, job);
        true
    }

    /// Takes in several blocks of one request, each exactly as it was asked for.
    fn take_blocks(
        &mut self,
        now: Time,
        from: SocketAddr,
        Answered { job, asked }: Answered,
        count: u32,
        block: &Block<'_>,
        store: &mut dyn Store,
    ) {
        let Some(path) = self.paths.get_mut(from) else { return };
        let Some(Flight { ask, framing, .. }) = path.on_answers(now, asked, count) else { return };
        path.was_gone = false;
        path.width.on_answer(framing.shortest(ask.block));
        let Some(download) = self.downloads.get_mut(job) else { return };
        if !download.on_block(now, from, *block, store) {
            download.on_lost(from, &ask);
        }
    }

    fn take_content(
        &mut self,
        shared: &mut Shared,
        now: Time,
        inbound: &Inbound<'_>,
        block: &ContentBlock<'_>,
        store: &mut dyn Store,
    ) {
        let Some(path) = self.paths.get(inbound.from) else { return };
        let Some((mut job_id, space)) = self.downloads.find(&block.id) else { return };
        self.downloads.on_taken(job_id);
        let mut answered = path.answered_by(job_id, space, block.offset);
        if answered.is_none()
            && space == Space::Tree
            && let Some(other) = self.downloads.hinted_by(&block.id, job_id)
        {
            job_id = other;
            answered = path.answered_by(job_id, space, block.offset);
        }
        // Nothing is taken that was not asked for.
        let Some(asked) = answered else {
            if let Some(download) = self.downloads.get_mut(job_id) {
                download.on_unwanted(block.data.len() as u64);
            }
            return;
        };
        let answers = inbound.is_validated();
        let data: [&[u8]; 1] = [&block.data];
        let data = Slices::new(&data);
        let block = Block { space, offset: block.offset, data, length: block.eof, answers };
        self.take_block(shared, now, inbound.from, Answered { job: job_id, asked }, &block, store);
        self.downloads.rest(now, job_id);
    }

    /// Takes in a block that answers what was asked.
    fn take_block(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        Answered { job, asked }: Answered,
        block: &Block<'_>,
        store: &mut dyn Store,
    ) {
        let Block { space, data, .. } = *block;
        let range = block.offset..block.offset + data.len() as u64;
        let came = Came { is_end: block.length == Some(range.end), range };
        let Some(path) = self.paths.get_mut(from) else { return };
        let Some(Flight { ask, framing, .. }) = path.on_answer(now, asked, Some(came)) else { return };
        if let Some(contact) = shared.contacts.get_mut(from).filter(|_| !data.is_empty()) {
            contact.useful_at = Some(now);
        }
        path.was_gone = false;
        path.width.on_answer(framing.shortest(data.len() as u64));
        let Some(download) = self.downloads.get_mut(job) else { return };
        let end = block.offset + data.len() as u64;
        // It may hold less than was asked for, or answer an earlier request that overlaps this one.
        let before = ask.range.start..block.offset.min(ask.range.end);
        let after = end.max(ask.range.start)..ask.range.end;
        for range in [before, after] {
            if !range.is_empty() && !ask.probe {
                download.on_lost(from, &Ask { range, ..ask.clone() });
            }
        }
        let is_leaf = block.offset.is_multiple_of(LEAF_LEN) && data.len() as u64 == LEAF_LEN;
        if space == Space::Content && is_leaf && end > ask.range.end {
            download.on_whole_leaf(from);
        }
        if !download.on_block(now, from, *block, store) {
            // A source that answers with nothing would do so again, and at once.
            if data.is_empty() && !ask.probe {
                download.on_refusal(now, from, &ask);
            } else {
                download.on_lost(from, &ask);
            }
        }
    }

    /// A peer says that the ids name the same content.
    fn take_hint(&mut self, now: Time, from: SocketAddr, ids: &[Cow<'_, str>], store: &mut dyn Store) {
        let ids: Vec<ContentId> = ids.iter().filter_map(|id| ContentId::parse(id).ok()).collect();
        let root =
            ids.iter().find_map(|id| if let ContentId::Blake3(root) = id { Some(*root) } else { None });
        let sha256 = |id: &&ContentId| matches!(id, ContentId::Sha256(_));
        let job = ids.iter().filter(sha256).find_map(|id| self.downloads.job_of(id));
        if let (Some(root), Some(download)) = (root, job.and_then(|job| self.downloads.get_mut(job))) {
            download.on_hint(now, from, root, store);
        }
    }

    /// A source does not give what it was asked for.
    fn take_refusal(&mut self, now: Time, from: SocketAddr, referral: &Referral<'_>) {
        let Some((job, space)) = self.downloads.find(&referral.id) else { return };
        let Some(path) = self.paths.get_mut(from) else { return };
        let refused = path.on_refusal(now, job, space, referral.part.clone());
        for flight in refused {
            if let Some(download) = self.downloads.get_mut(job) {
                download.on_refusal(now, from, &flight.ask);
            }
        }
    }

    /// A peer that returns our cookie says that it no longer has some content. Nobody else can say so in its name.
    fn take_withdrawal(&mut self, now: Time, from: SocketAddr, wire_id: &str) {
        let Some((job, Space::Content)) = self.downloads.find(wire_id) else { return };
        if let Some(download) = self.downloads.get_mut(job) {
            download.on_withdrawn(now, from);
        }
    }

    /// Has all downloads ask a source at once that has not given anything yet.
    pub(crate) fn probe_again(&mut self, now: Time, from: SocketAddr) {
        for (_, download) in self.downloads.wake_all() {
            download.probe_again(now, from);
        }
    }

    /// A source named others: it is asked again after them.
    pub(crate) fn look_again_later(&mut self, now: Time, from: SocketAddr) {
        for (_, download) in self.downloads.wake_all() {
            download.look_again_later(now, from);
        }
    }
}
