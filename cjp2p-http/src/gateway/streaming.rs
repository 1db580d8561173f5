//! Requests for live streams: each stream is viewed once, and sent to all that ask for it, from the place where each may join.

use std::time::Duration;

use cjp2p_cli::duration;
use cjp2p_io::stream_files::cursor::{Next, go_on_at, next};
use cjp2p_wire::node::{Start, StreamEvent, StreamOptions};
use cjp2p_wire::store::JobId;
use cjp2p_wire::stream::{SignedStatement, StreamId};
use cjp2p_wire::time::Time;

use super::Gateway;
use super::client::Token;
use super::policy::POLICY;
use super::view::{View, Viewer};
use crate::http::{Answer, Body, Head, Request};
use crate::media;

/// Streams that are viewed at a time.
const MAX_VIEWS: usize = 16;
/// Bytes after the position that may be here or on their way.
const WINDOW: u64 = 8 << 20;
/// Bytes of the newest that are kept of each stream, for clients that are slower than others, and for other peers.
const KEPT: usize = 32 << 20;
/// Without news for so long a stream has stalled: its origin speaks each 5 s.
const STALL: Duration = Duration::from_secs(30);
/// What did not come for so long while newer did is left out.
const LATE: Duration = Duration::from_secs(3);

/// What came of a turn for one client.
enum Turn {
    Goes,
    Ended,
    Broken(u16, String),
}

impl Gateway {
    /// Sends a stream from its edge on.
    pub(super) fn begin_stream(
        &mut self,
        token: Token,
        request: &Request,
        fields: Vec<(&'static str, String)>,
        text: &str,
    ) {
        let id = match StreamId::parse(text) {
            Ok(id) => id,
            Err(error) => return self.answer_line(token, 404, &format!("{text}: {error}")),
        };
        if request.is_head() {
            // What it is shows only once some of it is here, and that is no matter for a question.
            let head = Head::new(200).with("Cache-Control", "no-store").with("Accept-Ranges", "none");
            return self.answer(token, Answer { head, body: Body::Stream });
        }
        let now = self.session.now();
        let viewed = self.views.iter().find(|(_, view)| view.id == id).map(|(&job, _)| job);
        let job = match viewed {
            Some(job) => job,
            None if self.views.len() >= MAX_VIEWS => {
                return self.answer_line(token, 503, "too many streams are viewed at the same time");
            }
            None => {
                let options =
                    StreamOptions { from: Start::Edge, window: WINDOW, relay: self.settings.shares };
                let job = self.session.call(|node, now, _| node.view_stream(now, &id, options));
                self.session.store_mut().begin_stream(job, id.clone(), KEPT);
                self.search.look_for_publisher(id.key());
                self.views.insert(job, View::new(now, id));
                self.add_sources(job, Vec::new());
                job
            }
        };
        let viewer = Viewer { position: None, fields: Some(fields), waits_since: now };
        if let (Some(view), Some(client)) = (self.views.get_mut(&job), self.clients.get_mut(&token)) {
            view.viewers.insert(token, viewer);
            view.is_new = true;
            client.viewing = Some(job);
        }
    }

    /// A client is sent no stream any more.
    pub(super) fn end_viewing(&mut self, token: Token) {
        let Some(job) = self.clients.get_mut(&token).and_then(|client| client.viewing.take()) else { return };
        let Some(view) = self.views.get_mut(&job) else { return };
        view.viewers.remove(&token);
        if view.viewers.is_empty() {
            self.views.remove(&job);
            self.session.call(|node, now, _| node.end_stream(now, job));
            self.session.store_mut().end_stream(job);
        }
    }

    /// What the node reports of a stream.
    pub(super) fn on_stream(&mut self, job: JobId, event: StreamEvent) {
        let now = self.session.now();
        let Some(view) = self.views.get_mut(&job) else { return };
        view.is_new = true;
        match event {
            StreamEvent::Started { offset } => view.started = view.started.or(Some(offset)),
            StreamEvent::Statement(statement) => {
                (view.is_heard, view.news_at) = (true, now);
                view.statement = Some(*statement);
            }
            StreamEvent::Block { .. } => (view.is_heard, view.news_at) = (true, now),
            StreamEvent::Contradiction { index } => {
                self.break_off(job, 502, &format!("its origin signed two contents of block {index}"));
            }
            StreamEvent::NoSource | StreamEvent::Misbehaved(_) => {}
            StreamEvent::Failed(why) => self.break_off(job, 502, &why),
        }
    }

    fn break_off(&mut self, job: JobId, status: u16, why: &str) {
        let tokens: Vec<Token> =
            self.views.get(&job).into_iter().flat_map(|view| view.viewers.keys().copied()).collect();
        for token in tokens {
            self.end_viewer(token, Turn::Broken(status, why.to_owned()));
        }
    }

    /// Passes on what came, and ends what does not go on.
    pub(super) fn look_at_views(&mut self) {
        let now = self.session.now();
        for job in self.views.keys().copied().collect::<Vec<_>>() {
            let Some(view) = self.views.get_mut(&job) else { continue };
            let is_new = std::mem::take(&mut view.is_new);
            let tokens: Vec<Token> = view.viewers.keys().copied().collect();
            if let Some((status, why)) = self.problem(now, job) {
                self.break_off(job, status, &why);
                continue;
            }
            for token in tokens {
                // One whose socket is full is looked at when it is not.
                let has_room = self
                    .clients
                    .get(&token)
                    .is_some_and(|client| client.connection.has_room() && !client.is_full);
                if has_room && (is_new || self.is_behind(job, token)) {
                    let turn = self.feed(now, job, token);
                    match turn {
                        Turn::Goes => self.turn_client(token),
                        turn => self.end_viewer(token, turn),
                    }
                }
            }
            self.tell_position(job);
        }
    }

    /// Whether a client has yet to be sent what is here already, or waits for something that may be late by now.
    fn is_behind(&self, job: JobId, token: Token) -> bool {
        let Some(view) = self.views.get(&job) else { return false };
        let edge = self.session.node().stream_progress(job).map_or(0, |progress| progress.edge);
        view.viewers.get(&token).is_some_and(|viewer| viewer.position.is_some_and(|position| position < edge))
    }

    /// Why a view can go no further.
    fn problem(&self, now: Time, job: JobId) -> Option<(u16, String)> {
        let view = self.views.get(&job)?;
        let silent = now.since(view.news_at);
        if !view.is_heard {
            let time = self.settings.source_timeout;
            return (silent >= time)
                .then(|| (404, format!("no peer offered any of it within {}", duration::human(time))));
        }
        // An origin that says nothing of the whole may be quiet for as long as it likes.
        let is_over = view.statement.as_ref().is_some_and(|statement| statement.statement().ended);
        (view.statement.is_some() && !is_over && silent >= STALL)
            .then(|| (504, format!("its origin was silent for {}", duration::human(STALL))))
    }

    /// Gives a client what comes next for it, as far as it has room.
    fn feed(&mut self, now: Time, job: JobId, token: Token) -> Turn {
        let Some(view) = self.views.get_mut(&job) else { return Turn::Goes };
        let Some(viewer) = view.viewers.get_mut(&token) else { return Turn::Goes };
        let Some(client) = self.clients.get_mut(&token) else { return Turn::Goes };
        let Some(blocks) = self.session.store().stream(&view.id) else { return Turn::Goes };
        let statement = view.statement.as_ref().map(SignedStatement::statement);
        let joins = statement.map(|statement| &statement.joins[..]).unwrap_or_default();
        let Some(mut position) = viewer.position.or_else(|| {
            let started = view.started?;
            // Who comes later begins at the newest place, too.
            go_on_at(started, joins, |offset| blocks.has(offset), blocks.last_run()).or(Some(started))
        }) else {
            return Turn::Goes;
        };
        let mut passed = Vec::new();
        let mut is_ended = false;
        loop {
            match next(position, |index| blocks.peek(index).cloned(), statement) {
                Next::Bytes(block, range) => {
                    position += (range.end - range.start) as u64;
                    passed.extend_from_slice(&block.data()[range]);
                    viewer.waits_since = now;
                    if passed.len() >= 128 << 10 {
                        break;
                    }
                }
                Next::Gap(gap) => position = gap.end,
                Next::Missing => {
                    let is_late = now.since(viewer.waits_since) >= LATE;
                    let to = go_on_at(position, joins, |offset| blocks.has(offset), blocks.last_run());
                    match to.filter(|_| is_late) {
                        Some(to) => {
                            log::info!(
                                "{}: {} bytes came too late for {}",
                                view.id,
                                to - position,
                                client.from
                            );
                            (position, viewer.waits_since) = (to, now);
                        }
                        None => break,
                    }
                }
                Next::End => {
                    is_ended = true;
                    break;
                }
            }
        }
        viewer.position = Some(position);
        if passed.is_empty() && !is_ended {
            return Turn::Goes;
        }
        if let Some(fields) = viewer.fields.take() {
            let is_ts = passed.first() == Some(&0x47) && passed.get(188).is_none_or(|byte| *byte == 0x47);
            let content_type = if is_ts { "video/mp2t".into() } else { media::type_of_bytes(&passed, false) };
            let mut head = Head::new(200).with("Content-Type", content_type);
            for (name, value) in fields {
                head = head.with(name, value);
            }
            head = head.with("Cache-Control", "no-store").with("Accept-Ranges", "none");
            head = head.with("Content-Security-Policy", POLICY);
            self.answer(token, Answer { head, body: Body::Stream });
        }
        if let Some(client) = self.clients.get_mut(&token) {
            client.connection.push(&passed);
        }
        if is_ended { Turn::Ended } else { Turn::Goes }
    }

    /// A client is sent no more of its stream.
    fn end_viewer(&mut self, token: Token, turn: Turn) {
        let now = self.session.now();
        let has_begun = |gateway: &Gateway| {
            let job = gateway.clients.get(&token).and_then(|client| client.viewing);
            let viewer = job.and_then(|job| gateway.views.get(&job)?.viewers.get(&token));
            viewer.is_some_and(|viewer| viewer.fields.is_none())
        };
        let has_begun = has_begun(self);
        self.end_viewing(token);
        match turn {
            Turn::Goes => {}
            Turn::Ended => {
                if let Some(client) = self.clients.get_mut(&token) {
                    client.connection.finish(now);
                }
            }
            Turn::Broken(status, why) if !has_begun => self.answer_line(token, status, &why),
            Turn::Broken(_, why) => {
                if let Some(client) = self.clients.get_mut(&token) {
                    log::info!("{}: a stream is broken off: {why}", client.from);
                    client.connection.fail();
                }
            }
        }
        self.turn_client(token);
    }

    /// Tells the node how far the fastest client is: what comes after that is asked for.
    fn tell_position(&mut self, job: JobId) {
        let Some(view) = self.views.get_mut(&job) else { return };
        let position = view.viewers.values().filter_map(|viewer| viewer.position).max();
        if let Some(position) = position.filter(|position| view.told.is_none_or(|told| *position > told)) {
            view.told = Some(position);
            self.session.call(|node, now, _| node.set_stream_position(now, job, position));
        }
    }
}
