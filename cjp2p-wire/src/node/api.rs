//! What the owner of a node asks of it, beside driving it.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::Node;
use super::contacts::{Acquaintance, Contact};
use super::event::Query;
use super::lengths::ORDINARY_DATAGRAM;
use super::outbox::Counters;
use super::sizes::Sizes;
use super::streams::NamedBy;
use crate::content_id::ContentId;
use crate::datagram::Encoder;
use crate::download::{Download, Progress, RangeSpec, Spec};
use crate::message::MAX_IDS;
use crate::peers::links::Links;
use crate::range_set::RangeSet;
use crate::signed::{PointerId, SignedPointer};
use crate::store::{JobId, Store};
use crate::time::Time;

/// Downloads.
impl Node {
    /// Starts to download. Content that is downloaded already is not downloaded twice: the same job is returned.
    pub fn start_fetch(&mut self, now: Time, spec: Spec) -> JobId {
        self.enter(now);
        self.client.start(&mut self.shared, now, spec)
    }

    /// Starts to download content that most likely is `length` bytes long, and that these peers most likely have: they are asked for
    /// it at once, without the question whether they have any. Such requests share datagrams with others. If either is wrong, their
    /// answers show that. Where it `is_limited`, no other peer is asked: see [`Node::limit_sources`].
    pub fn start_fetch_from(
        &mut self,
        now: Time,
        spec: Spec,
        length: u64,
        holders: &[SocketAddr],
        is_limited: bool,
    ) -> JobId {
        self.enter(now);
        let job = self.client.start(&mut self.shared, now, spec);
        if is_limited {
            self.client.limit_sources(job);
        }
        for &address in holders {
            self.client.add_holder(&mut self.shared, now, job, address, length);
        }
        self.client.rest_fresh(now, job);
        job
    }

    /// Starts to look for sources of some content, without downloading it: see [`Download::offers`] of the job, which has no
    /// limits of time. Content that is downloaded or looked for already has a job, which is returned.
    pub fn start_search(&mut self, now: Time, id: ContentId) -> JobId {
        self.enter(now);
        self.client.start_search(&mut self.shared, now, id)
    }

    /// Forgets a download, ended or not.
    pub fn end_fetch(&mut self, now: Time, job: JobId) {
        self.enter(now);
        if let Some(ended) = self.client.end(now, job) {
            for source in ended.serving() {
                self.server.note_provider(now, ended.id(), source);
            }
            self.discovery.forget(job);
        }
    }

    /// How far a download is.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        self.fetch(job).map(Download::progress)
    }

    /// The download itself, to look at.
    pub fn fetch(&self, job: JobId) -> Option<&Download> {
        self.client.downloads().get(job)
    }

    /// Tells a download whether what was staged has the right hash; see
    /// [`DownloadEvent::Staged`](crate::download::DownloadEvent::Staged).
    pub fn on_verdict(&mut self, now: Time, job: JobId, is_right: bool, store: &mut dyn Store) {
        self.enter(now);
        self.client.on_verdict(&mut self.shared, now, job, is_right, store);
    }

    /// What an interrupted download wrote of `range` is verified now, and `right` is what of it is right; see
    /// [`Resume::unchecked`](crate::download::Resume::unchecked).
    pub fn on_checked(
        &mut self,
        now: Time,
        job: JobId,
        range: Range<u64>,
        right: &RangeSet,
        store: &mut dyn Store,
    ) {
        self.enter(now);
        if self.client.on_checked(now, job, range, right) {
            self.client.ask_everybody(&mut self.shared, now, store);
        }
    }

    /// From now on these bytes of what `job` downloads are wanted, those first that come first: a reader went elsewhere, or another one
    /// came. What was asked for and is not wanted any more is given up. Only of content with a tree. Returns whether it goes on;
    /// what is wanted of a download that is over needs another one, which can [resume](crate::download::Resume).
    pub fn want(&mut self, now: Time, job: JobId, ranges: Vec<RangeSpec>, store: &mut dyn Store) -> bool {
        self.enter(now);
        let goes_on = self.client.want(now, job, ranges);
        self.client.ask_everybody(&mut self.shared, now, store);
        goes_on
    }

    /// The destination of some download takes more now.
    pub fn handle_room(&mut self, now: Time, store: &mut dyn Store) {
        self.enter(now);
        self.client.on_room(now, store);
        self.client.ask_everybody(&mut self.shared, now, store);
    }
}

/// Sources of downloads.
impl Node {
    /// Adds a peer that may have what `job` downloads. `suggested`: nobody vouches for the address, so it is asked
    /// when its turn comes among others of that kind, and sparingly.
    pub fn add_source(&mut self, now: Time, job: JobId, address: SocketAddr, suggested: bool) {
        self.enter(now);
        if self.streams.views(job) {
            let named_by = if suggested { NamedBy::Peer } else { NamedBy::Known };
            self.streams.add_source(&mut self.shared, now, job, address, named_by);
        } else if suggested {
            self.discovery.add_suggested(job, address);
            self.try_suggested(now);
        } else {
            self.client.open_source(&mut self.shared, now, job, address, false);
        }
    }

    /// From now on only sources that [`Node::add_named_source`] adds are asked for what `job` downloads, and only from them it is
    /// taken: peers that are found otherwise, or named by others, are left alone.
    pub fn limit_sources(&mut self, now: Time, job: JobId) {
        self.enter(now);
        self.client.limit_sources(job);
    }

    /// Adds a peer that the user named as a source of `job`, also where others may not be one.
    pub fn add_named_source(&mut self, now: Time, job: JobId, address: SocketAddr) {
        self.enter(now);
        if self.streams.views(job) {
            return self.streams.add_source(&mut self.shared, now, job, address, NamedBy::User);
        }
        self.client.add_named_source(&mut self.shared, now, job, address);
    }

    /// Adds a peer that was validated at some time, and may have what `job` downloads, or know which peer has it: to be asked when
    /// its turn comes. Those added first are asked first.
    pub fn add_known(&mut self, now: Time, job: JobId, address: SocketAddr) {
        self.enter(now);
        if self.streams.views(job) {
            return self.streams.add_source(&mut self.shared, now, job, address, NamedBy::Known);
        }
        self.discovery.add_known(self.client.downloads(), now, job, address);
        self.ask_known(now);
    }

    /// Adds peers that `by`, which sends content of `job`, named: they are as likely to have some of it as if they were named for
    /// it. As far as it may send us to them; they are asked sparingly, when their turn comes.
    pub fn add_suggestions(&mut self, now: Time, job: JobId, by: SocketAddr, peers: &[SocketAddr]) {
        self.enter(now);
        let giver = self.giver(by);
        self.discovery.add_named(&self.shared, self.client.downloads(), now, job, giver, peers);
        self.try_suggested(now);
    }

    /// Goes by what this peer says of no longer having what `job` downloads, though it may not have given any of it now. `named`: by
    /// the user. Otherwise an interrupted download had some from it.
    pub fn rely_on(&mut self, job: JobId, address: SocketAddr, named: bool) {
        self.client.rely_on(job, address, named);
    }

    /// The validated sources that send some of what `job` downloads: at most `most`, those first that sent us most.
    pub fn proven_sources(&self, job: JobId, most: usize) -> Vec<SocketAddr> {
        self.client.validated_sources(&self.shared, job, most)
    }

    /// Says what the route to a peer carries in one IP packet, in bytes.
    pub fn set_path_mtu(&mut self, address: SocketAddr, mtu: usize) {
        self.client.set_path_mtu(self.now, address, mtu);
    }

    /// Whether this peer was asked for content, or is to be asked now.
    pub fn has_asked(&self, address: SocketAddr) -> bool {
        self.client.asks(address)
    }

    /// Whether a peer is still to be asked for what `job` wants, or may answer yet.
    pub fn is_searching(&self, job: JobId) -> bool {
        let download = self.fetch(job).filter(|download| !download.is_over());
        download.is_some_and(|it| self.discovery.has_more(job) || it.awaits_answers(self.now))
    }
}

/// Single peers, and the link.
impl Node {
    /// Asks a peer something; an [`Event::Answer`](super::Event::Answer) or [`Event::Unanswered`](super::Event::Unanswered) follows.
    /// `suggested`: nobody vouches for the address, so it is asked sparingly.
    pub fn query(&mut self, now: Time, address: SocketAddr, question: Query, suggested: bool) {
        self.enter(now);
        self.discovery.query(&mut self.shared, now, address, question, suggested);
    }

    /// How many queries may still be answered. After the first answer to one, more of it may follow.
    pub fn open_questions(&self) -> usize {
        self.discovery.open_queries()
    }

    /// Tells a peer that this content is to be had here, for those that ask it. Only to one that has given us its cookie, as
    /// greeted peers have; as many as fit a datagram, [`MAX_IDS`] at most.
    pub fn tell_content(&mut self, now: Time, to: SocketAddr, ids: &[ContentId]) {
        self.enter(now);
        let is_known = |contact: &Contact| contact.cookies.theirs.is_some() && !contact.is_shunned();
        if ids.is_empty() || !self.shared.contacts.get(to).is_some_and(is_known) {
            return;
        }
        let mut encoder = Encoder::new();
        self.shared.write_cookies(now, to, true, &mut encoder);
        let mut ids: Vec<String> = ids.iter().take(MAX_IDS).map(ContentId::to_string).collect();
        loop {
            let mark = encoder.mark();
            encoder.have_content(ids.iter().map(|id| &**id));
            if encoder.len() <= ORDINARY_DATAGRAM || ids.is_empty() {
                break;
            }
            encoder.rewind(mark);
            ids.pop();
        }
        self.shared.send(to, encoder.finish(0));
    }

    /// Says which networks are attached, at first and when that changed, or when a question may get further than the last one.
    /// From then on questions are asked there, by [`Event::AskLan`](super::Event::AskLan), and those of others answered.
    pub fn attach(&mut self, now: Time, links: Links) {
        self.enter(now);
        self.shared.links = Some(links);
        self.discovery.lan_mut().on_attached(now);
    }

    /// Looks on the link for sources of what `job` downloads, whenever it lacks them, for the first time after `delay`. A host that
    /// answers is an [`Event::Neighbour`](super::Event::Neighbour), and may be added as a source.
    pub fn look_on_lan(&mut self, now: Time, job: JobId, delay: Duration) {
        self.enter(now);
        self.discovery.lan_mut().look(job, now + delay);
    }

    /// Looks for any hosts on the link. One that answers is an [`Event::Neighbour`](super::Event::Neighbour).
    pub fn look_for_neighbours(&mut self, now: Time) {
        self.enter(now);
        self.discovery.lan_mut().look_for_neighbours(now);
    }

    /// Whether neighbours that were looked for may still answer.
    pub fn looks_for_neighbours(&self) -> bool {
        self.discovery.lan().looks_for_neighbours(&self.shared)
    }

    /// Whether the link has yet to be asked for what `job` downloads, or may answer yet.
    pub fn awaits_lan(&self, now: Time, job: JobId) -> bool {
        self.discovery.lan().awaits(&self.shared, now, job)
    }

    /// Whether another host on the link was heard to answer a question.
    pub fn has_heard_lan(&self) -> bool {
        self.discovery.lan().has_heard()
    }
}

/// What names stand for.
impl Node {
    /// Asks a peer what these names stand for, the first eight of them. For each verified answer an
    /// [`Event::Latest`](super::Event::Latest) follows, and an [`Event::Unanswered`](super::Event::Unanswered) where it keeps silent.
    /// `suggested`: nobody vouches for the address, so it is asked sparingly. `watches`: it is asked again each minute, for what is
    /// newer, until the node ends.
    pub fn ask_latest(
        &mut self,
        now: Time,
        address: SocketAddr,
        ids: &[PointerId],
        suggested: bool,
        watches: bool,
    ) {
        self.enter(now);
        self.discovery.names_mut().begin(&mut self.shared, now, address, ids, suggested, watches);
    }

    /// Says what is known already of a name: only what is newer is news.
    pub fn know_latest(&mut self, pointer: SignedPointer) {
        self.discovery.names_mut().know(pointer);
    }

    /// How many peers may still answer soon what a name stands for.
    pub fn awaits_latest(&self) -> usize {
        self.discovery.names().awaited()
    }

    /// Whether this peer may still answer soon.
    pub fn awaits_latest_of(&self, address: SocketAddr) -> bool {
        self.discovery.names().awaits(address)
    }

    /// The library may have a newer pointer of this name, or of one below it. Those that wait for it are told.
    pub fn handle_news_of(&mut self, now: Time, id: &PointerId, store: &mut dyn Store) {
        self.enter(now);
        let (server, mut context) = self.server(now, store);
        server.on_news_of(&mut context, id);
    }
}

/// Answers to others, and what is known of them.
impl Node {
    /// The library has in memory what it had to answer [`Read::Later`](crate::store::Read::Later) for.
    pub fn handle_library_ready(&mut self, now: Time, store: &mut dyn Store) {
        self.enter(now);
        self.server.on_library_ready();
        self.serve_turns(now, store);
    }

    /// Has no answers made while they could not leave anyway.
    pub fn hold_answers(&mut self, now: Time, hold: bool, store: &mut dyn Store) {
        self.enter(now);
        self.server.hold_answers(hold);
        self.streams.hold(hold);
        self.serve_turns(now, store);
    }

    /// Takes back the memory of a datagram that was sent, for others. May be called at any time.
    pub fn reuse(&mut self, memory: Vec<u8>) {
        self.shared.outbox.reuse(memory);
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        Counters { work: self.shared.budget.done(), ..self.shared.outbox.counters() }
    }

    /// The peers that we have met, for the peer table.
    pub fn acquaintances(&self) -> impl Iterator<Item = Acquaintance> + '_ {
        self.shared.contacts.acquaintances().map(|known| {
            let round_trip = self.client.round_trip(known.address).or(known.round_trip);
            Acquaintance { round_trip, ..known }
        })
    }

    /// Addresses that turned out to be our own: what was sent there came to us.
    pub fn own_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.shared.contacts.own()
    }
}

impl Node {
    /// How much it holds at present.
    pub fn sizes(&self) -> Sizes {
        let (server, client, discovery) = (self.server.sizes(), self.client.sizes(), self.discovery.sizes());
        let streams = self.streams.sizes();
        Sizes {
            contacts: self.shared.contacts.len(),
            asked: client.asked,
            unvalidated: client.unvalidated,
            suggestions: discovery.suggestions,
            givers: discovery.givers,
            known: discovery.known,
            providers: server.providers,
            requests: server.requests,
            requesters: server.requesters,
            debtors: server.debtors,
            lists_wanted: server.lists_wanted,
            exchanged: server.exchanged,
            getters: server.getters,
            askers: client.askers,
            put_off: client.put_off,
            handles: client.handles,
            echoed: server.echoed,
            echoes_answered: server.echoes_answered,
            probed: self.shared.probes.len(),
            queries: discovery.queries,
            name_queries: discovery.name_queries,
            watchers: server.watchers,
            list_bytes: discovery.list_bytes,
            neighbours: discovery.neighbours,
            greeted: discovery.greeted,
            sources: client.kept.sources,
            noted_sources: client.kept.noted,
            claims: client.kept.claims,
            false_hints: client.kept.refuted,
            have_ranges: client.kept.have_ranges,
            subscribers: streams.subscribers,
            plain_viewers: streams.plain,
            stream_sources: streams.sources,
            stream_candidates: streams.candidates,
            stream_records: streams.records,
            short_blocks: streams.short,
        }
    }
}
