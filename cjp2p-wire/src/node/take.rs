//! Taking in what answers our requests: content, referrals, cookies; and leaving alone who sent what is wrong.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::budget::{MAX_NAMED, MAX_TOLD};
use super::inbound::Inbound;
use super::peer_path::{Came, Flight};
use super::serving::MAX_BLOCKS;
use super::suggestions::Promise;
use super::{Event, Job, Node};
use crate::content_id::ContentId;
use crate::download::{Ask, Block, Space};
use crate::message::{ContentBlock, Message, Referral};
use crate::path::in_flight::RequestedBlock;
use crate::peers::cookie::Validation;
use crate::store::{JobId, Store};
use crate::time::Time;
use crate::tree::LEAF_LEN;

/// The first of `all`, as many as are left, which are fewer then.
fn first<'a>(all: &'a [SocketAddr], left: &mut usize) -> &'a [SocketAddr] {
    let some = &all[..all.len().min(*left)];
    *left -= some.len();
    some
}

impl Node {
    /// Takes in what answers our requests and questions.
    pub(super) fn take_answers(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
        inbound: Inbound,
        validation: Validation,
        store: &mut dyn Store,
    ) {
        let Some(contact) = self.contacts.get_mut(from) else {
            return;
        };
        if contact.returns_always && validation == Validation::None {
            // It has our cookie: without it, this is somebody else. Or the one it has is too old, or our own address has
            // changed on the way to it so that it does not know us any more: it is told ours again, to show who it is.
            contact.has_cookie = false;
            return;
        }
        if inbound.content && contact.path.is_some() {
            // Without a word about cookies, though our requests ask for the return of one, it comes from a node that does not
            // know of them. Some log an error each time that they are asked.
            contact.silent_about_cookies = !inbound.speaks_of_cookies();
        }
        if inbound.blocks {
            for message in messages {
                if let Message::ICanSendContentInBlocks(most) = message {
                    contact.blocks = (*most).clamp(1, MAX_BLOCKS);
                }
            }
        }
        let is_only_suggested = contact.is_only_suggested();
        let is_first_cookie =
            inbound.wants_always && self.take_foreign_cookie(from, messages, inbound, validation);
        // Of an address that nobody vouches for nothing is believed before it proves itself: who names a victim to us may
        // answer in its name too, and would have us ask it for all that we want.
        if is_only_suggested {
            if is_first_cookie || inbound.content {
                self.ask_again(now, from);
            }
            self.take_query_answers(now, from, messages, inbound.answers_ours);
            return;
        }
        let mut names_others = false;
        // Of what costs more than to read it, a datagram of an honest node holds one or two.
        let (mut told_left, mut named_left) = (MAX_TOLD, MAX_NAMED);
        for message in messages {
            let tells = matches!(
                message,
                Message::TheseIdsNameTheSameContent(_)
                    | Message::IHaveTheseParts(_)
                    | Message::IHaveThisContent(_)
                    | Message::MaybeTheyHaveSome(_)
                    | Message::Peers(_)
            );
            if tells && told_left == 0 {
                continue;
            }
            told_left -= usize::from(tells);
            match message {
                Message::Content(block) => self.take_content(now, from, block, validation, store),
                Message::TheseIdsNameTheSameContent(ids) if validation != Validation::None => {
                    self.take_hint(now, from, ids, store);
                }
                Message::IHaveTheseParts(told) => self.take_parts(now, from, told, validation, store),
                Message::MaybeTheyHaveSome(referral) => {
                    let came =
                        messages.iter().any(|m| matches!(m, Message::Content(c) if c.id == referral.id));
                    let peers = first(&referral.peers, &mut named_left);
                    names_others |= self.take_referral(now, from, referral, peers, came);
                    if referral.withdrawn && !came && validation != Validation::None {
                        self.take_withdrawal(now, from, &referral.id);
                    }
                }
                Message::Peers(peers) => {
                    names_others |= self.take_peers(now, from, first(peers, &mut named_left));
                }
                Message::IHaveThisContent(ids) if validation != Validation::None => {
                    self.take_told(now, from, ids)
                }
                _ => {}
            }
        }
        if is_first_cookie {
            // What it held back until it knew us can be asked for again at once; or when those were asked whom it names.
            self.ask_again(now, from);
            if names_others {
                self.fetches.values_mut().for_each(|job| job.fetch.look_again_later(now, from));
            }
        }
        self.take_query_answers(now, from, messages, inbound.answers_ours);
    }

    /// Asks a peer again at once that has not told yet what it knows.
    fn ask_again(&mut self, now: Time, from: SocketAddr) {
        self.queries.ask_again(now, from);
        self.probe_again(now, from);
    }

    /// Has all fetches ask a source at once that has not given anything yet.
    pub(super) fn probe_again(&mut self, now: Time, from: SocketAddr) {
        for job in self.fetches.values_mut() {
            job.fetch.probe_again(now, from);
        }
    }

    /// Keeps the cookie that a peer of ours wants returned, or of one that returned ours when we asked. Says whether it is the first.
    fn take_foreign_cookie(
        &mut self,
        from: SocketAddr,
        messages: &[Message<'_>],
        inbound: Inbound,
        validation: Validation,
    ) -> bool {
        let Some(value) = messages.iter().find_map(|message| match message {
            Message::PleaseAlwaysReturnThisMessage(value) => Some(value.get()),
            _ => None,
        }) else {
            return false;
        };
        let asked = self.queries.has(from);
        let Some(contact) = self.contacts.get_mut(from) else {
            return false;
        };
        // Who has proved itself can do so again. Anybody else would have us send it what it cannot know us by.
        if contact.cookie.is_some()
            && contact.is_validated()
            && validation == Validation::None
            && !inbound.answers_ours
        {
            return false;
        }
        let ours = contact.path.is_some() || asked || validation != Validation::None || inbound.answers_ours;
        if !ours
            || value.len() > super::contact::MAX_FOREIGN_COOKIE
            || contact.cookie.as_deref() == Some(value)
        {
            return false;
        }
        let first = contact.cookie.is_none();
        contact.cookie = Some(value.into());
        // Before it knew us it could return our cookie only from the question itself. Now it will keep it: tell it again.
        contact.has_cookie = false;
        first
    }

    fn take_content(
        &mut self,
        now: Time,
        from: SocketAddr,
        block: &ContentBlock<'_>,
        validation: Validation,
        store: &mut dyn Store,
    ) {
        if self.path(from).is_none() {
            return;
        }
        let Some((mut job_id, space)) = self.fetch_of(&block.id) else { return };
        self.last_taken = job_id;
        let Some(path) = self.path(from) else { return };
        let mut answered = path.answered_by(job_id, space, block.offset);
        if answered.is_none()
            && space == Space::Tree
            && let Some(other) = self.hinted_by(&block.id, job_id)
        {
            job_id = other;
            answered = path.answered_by(job_id, space, block.offset);
        }
        // Nothing is taken that was not asked for.
        let Some(asked) = answered else {
            if let Some(job) = self.fetches.get_mut(&job_id) {
                job.fetch.on_unwanted(block.data.len() as u64);
            }
            return;
        };
        let answers = validation != Validation::None;
        let block = Block { space, offset: block.offset, data: &block.data, length: block.eof, answers };
        self.take_block(now, from, job_id, asked, &block, store);
    }

    /// Takes in a block that answers what was asked.
    fn take_block(
        &mut self,
        now: Time,
        from: SocketAddr,
        job_id: JobId,
        asked: RequestedBlock,
        block: &Block<'_>,
        store: &mut dyn Store,
    ) {
        let Block { space, data, .. } = *block;
        let range = block.offset..block.offset + data.len() as u64;
        let came = Came { is_end: block.length == Some(range.end), range };
        let Some(contact) = self.contacts.get_mut(from) else { return };
        let Some(path) = contact.path.as_deref_mut() else { return };
        let Some(Flight { ask, .. }) = path.on_answer(now, asked, Some(came)) else { return };
        if !data.is_empty() {
            contact.useful_at = Some(now);
        }
        path.was_gone = false;
        path.width.on_answer(data.len().div_ceil(3) * 4);
        let Some(Job { fetch, .. }) = self.fetches.get_mut(&job_id) else {
            return;
        };
        let end = block.offset + data.len() as u64;
        // It may hold less than was asked for, or answer an earlier request that overlaps this one.
        let before = ask.range.start..block.offset.min(ask.range.end);
        let after = end.max(ask.range.start)..ask.range.end;
        for range in [before, after] {
            if !range.is_empty() && !ask.probe {
                fetch.on_lost(from, &Ask { range, ..ask.clone() });
            }
        }
        let is_leaf = block.offset.is_multiple_of(LEAF_LEN) && data.len() as u64 == LEAF_LEN;
        if space == Space::Content && is_leaf && end > ask.range.end {
            fetch.on_whole_leaf(from);
        }
        if !fetch.on_block(now, from, *block, store) {
            // Whoever answers with nothing would do so again, and at once.
            if data.is_empty() && !ask.probe {
                fetch.on_refusal(now, from, &ask);
            } else {
                fetch.on_lost(from, &ask);
            }
        }
    }

    /// What an id on the wire is a part of, where it is fetched.
    fn fetch_of(&self, wire_id: &str) -> Option<(JobId, Space)> {
        // Most of what comes is content of the same fetch as the block before.
        if let Some(job) = self.fetches.get(&self.last_taken)
            && job.wire_id == wire_id
        {
            return Some((self.last_taken, Space::Content));
        }
        let id = ContentId::parse(wire_id).ok()?;
        let space = if matches!(id, ContentId::Tree(_)) { Space::Tree } else { Space::Content };
        let hinted = || self.hinted_by(wire_id, JobId(u32::MAX));
        self.jobs.get(&id).copied().or_else(hinted).map(|job| (job, space))
    }

    /// Who else follows a hint to this tree.
    fn hinted_by(&self, tree_id: &str, but: JobId) -> Option<JobId> {
        let mut jobs = self.fetches.iter().filter(|(_, job)| job.tree_id() == Some(tree_id));
        jobs.find(|(job, _)| **job != but).map(|(&job, _)| job)
    }

    /// A peer says that the ids name the same content.
    fn take_hint(&mut self, now: Time, from: SocketAddr, ids: &[Cow<'_, str>], store: &mut dyn Store) {
        let ids: Vec<ContentId> = ids.iter().filter_map(|id| ContentId::parse(id).ok()).collect();
        let root =
            ids.iter().find_map(|id| if let ContentId::Blake3(root) = id { Some(*root) } else { None });
        let job = ids.iter().find_map(|id| matches!(id, ContentId::Sha256(_)).then(|| self.jobs.get(id))?);
        if let (Some(root), Some(job)) = (root, job.and_then(|job| self.fetches.get_mut(job))) {
            job.fetch.on_hint(now, from, root, store);
        }
    }

    /// Returns whether anybody is named who is news.
    fn take_referral(
        &mut self,
        now: Time,
        from: SocketAddr,
        referral: &Referral<'_>,
        peers: &[SocketAddr],
        content_came: bool,
    ) -> bool {
        let Some((job_id, space)) = self.fetch_of(&referral.id) else { return false };
        let Some(path) = self.path_mut(from) else { return false };
        if !content_came {
            let refused = path.on_refusal(now, job_id, space, referral.part.clone());
            for flight in refused {
                if let Some(job) = self.fetches.get_mut(&job_id) {
                    job.fetch.on_refusal(now, from, &flight.ask);
                }
            }
        }
        let mut is_news = false;
        for &peer in peers {
            is_news |= self.suggest(job_id, from, peer, Promise::Content);
        }
        self.follow_suggestions(now);
        is_news
    }

    /// A peer that returns our cookie says that it no longer has some content. Nobody else can say so in its name.
    fn take_withdrawal(&mut self, now: Time, from: SocketAddr, wire_id: &str) {
        let Some((job, Space::Content)) = self.fetch_of(wire_id) else { return };
        if let Some(state) = self.fetches.get_mut(&job) {
            state.fetch.on_withdrawn(now, from);
        }
    }

    /// Leaves a peer alone that sent what is provably wrong. Only one that returns our cookie can be named with
    /// certainty; of others nothing more is believed in that one fetch.
    pub(super) fn ban(&mut self, address: SocketAddr) {
        let now = self.now;
        let Some(contact) = self.contacts.get_mut(address) else {
            return;
        };
        if contact.returns_always {
            contact.banned = true;
            for job in self.fetches.values_mut() {
                job.fetch.on_silent(now, address);
            }
        }
    }

    /// Notes that `address` is our own, or repeats what we say: it is not asked again, nor named to anybody.
    pub(super) fn on_own_voice(&mut self, now: Time, address: SocketAddr) {
        let Some(contact) = self.contacts.get_mut(address) else {
            return;
        };
        contact.is_us = true;
        for job in self.fetches.values_mut() {
            job.fetch.on_silent(now, address);
        }
        if self.queries.give_up(address) {
            self.events.push_back(Event::Unanswered(address));
        }
    }
}
