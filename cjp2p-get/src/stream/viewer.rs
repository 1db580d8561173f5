//! The loop that views a stream: takes what the node reports, passes on what comes next, leaves out what is late, and sees when it is over.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_cli::progress::{Live, Progress};
use cjp2p_cli::{Exit, ToolError, duration, size};
use cjp2p_io::mainline::Mainline;
use cjp2p_io::session::Session;
use cjp2p_io::stream_files::cursor::{Next, go_on_at, next};
use cjp2p_wire::node::{Answer, Event, Start, StreamEvent, StreamOptions};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::store::JobId;
use cjp2p_wire::stream::{SignedStatement, Statement, StreamId};
use cjp2p_wire::time::Time;
use nix::sys::signal::Signal;

use super::delay::Delay;
use super::late::Late;
use super::outlet::{Outlet, Target};
use super::report::{Event as Told, Report, Totals};
use super::store::ViewStore;
use crate::cli::{Cli, TOOL};
use cjp2p_io::peers::Peers;

/// Bytes after the position that may be here or on their way.
const WINDOW: u64 = 8 << 20;
/// Bytes that wait to be written. What waits there cannot be left out any more, however late it is.
const QUEUE: u64 = 1 << 20;
const QUEUE_IN_TIME: u64 = 64 << 10;
/// How often progress is shown, and what has no event of its own is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// At the end others have this time to get the last of it.
const LINGER: Duration = Duration::from_secs(1);
/// What nobody has given for so long is passed over, if all have only what comes after it.
const GONE_AFTER: Duration = Duration::from_secs(3);
/// Without news for so long a stream has stalled, if nothing else is said: its origin speaks each 5 s.
const STALL: Duration = Duration::from_secs(30);

/// What a viewer is made of.
pub(super) struct Parts {
    pub(super) id: StreamId,
    pub(super) from: Start,
    pub(super) target: Target,
    pub(super) peers: Peers,
    pub(super) dht: Option<Mainline>,
    pub(super) is_limited: bool,
}

/// See the [module](self).
pub(super) struct Viewer {
    session: Session<ViewStore>,
    job: JobId,
    id: StreamId,
    peers: Peers,
    dht: Option<Mainline>,
    is_limited: bool,
    statement: Option<SignedStatement>,
    /// The byte that comes next; `None` until it is known where to begin.
    position: Option<u64>,
    /// What the node was told of that.
    told: Option<u64>,
    outlet: Outlet,
    is_file: bool,
    force: bool,
    late: Option<Late>,
    delay: Delay,
    totals: Totals,
    report: Report,
    progress: Progress,
    shown_at: Time,
    timeout: Duration,
    stall: Duration,
    /// When it ends in any case.
    end_at: Time,
    /// All came that there is.
    at_end: bool,
    /// It was written and has its name; others may still want something until then.
    linger_until: Option<Time>,
    /// Some peer has said something of the stream.
    is_heard: bool,
    news_at: Time,
    /// When something was passed on last.
    moved_at: Time,
}

impl Viewer {
    /// Asks all known peers for the stream.
    ///
    /// # Errors
    ///
    /// Where the system has no thread left.
    pub(super) fn start(
        cli: &Cli,
        parts: Parts,
        mut session: Session<ViewStore>,
    ) -> Result<Viewer, ToolError> {
        let Parts { id, from, target, peers, dht, is_limited } = parts;
        let mut progress = cli.progress.start(TOOL, &cli.log);
        let (is_file, resumed) = match &target {
            Target::Output(_) => (false, 0),
            Target::File(file) => (true, file.length()),
        };
        progress.add_there(resumed);
        let outlet = Outlet::start(target, session.waker())
            .map_err(|error| ToolError::failure(format!("threads: {error}")))?;
        let options = StreamOptions { from, window: WINDOW, relay: !cli.no_share };
        let job = session.call(|node, now, _| node.view_stream(now, &id, options));
        let now = session.now();
        let mut viewer = Viewer {
            job,
            report: Report::new(cli.json, &id),
            id,
            peers,
            dht,
            is_limited,
            statement: None,
            position: None,
            told: None,
            outlet,
            is_file,
            force: cli.force,
            late: cli.stream.max_delay.map(Late::new),
            delay: Delay::default(),
            totals: Totals { length: resumed, resumed, ..Totals::default() },
            progress,
            shown_at: Time::ZERO,
            timeout: cli.timeout,
            stall: cli.stall.unwrap_or(STALL),
            end_at: cli.stream.relay_for.map_or(Time::NEVER, |time| now + time),
            at_end: false,
            linger_until: None,
            is_heard: false,
            news_at: now,
            moved_at: now,
            session,
        };
        viewer.add_sources();
        Ok(viewer)
    }

    fn add_sources(&mut self) {
        let job = self.job;
        if self.is_limited {
            self.session.call(|node, now, _| node.limit_sources(now, job));
        }
        for address in self.peers.of_user().collect::<Vec<_>>() {
            self.session.call(|node, now, _| node.add_named_source(now, job, address));
        }
        if self.is_limited {
            return;
        }
        let others: Vec<_> = self.peers.others().map(|(address, peer)| (address, peer.suggested)).collect();
        for (address, suggested) in others {
            self.session.call(|node, now, _| node.add_source(now, job, address, suggested));
        }
        for &address in self.peers.nearest() {
            self.session.call(|node, now, _| node.add_known(now, job, address));
        }
        if let Some(delay) = self.peers.lan_delay() {
            self.session.call(|node, now, _| node.look_on_lan(now, job, delay));
        }
    }

    /// Runs until the stream ended and all of it is written, or gives the signal that ended it.
    ///
    /// # Errors
    ///
    /// It does not come to its end, or cannot be written.
    pub(super) fn run(&mut self) -> Result<Option<Signal>, ToolError> {
        loop {
            self.take_events()?;
            self.ask_others();
            self.skip_what_is_late()?;
            self.skip_what_is_gone()?;
            self.feed()?;
            self.tell_position();
            self.outlet.check()?;
            if self.is_over()? {
                return Ok(None);
            }
            self.fail_in_time()?;
            self.show_progress();
            self.peers.save_sometimes(&self.session);
            let until = self.due();
            let wake =
                self.session.turn(until).map_err(|error| ToolError::failure(format!("network: {error}")))?;
            if wake.signal.is_some() {
                return Ok(wake.signal);
            }
        }
    }

    fn due(&mut self) -> Time {
        let now = self.session.now();
        let position = self.position.unwrap_or(0);
        let late_at = self.late.as_mut().map_or(Time::NEVER, |late| late.due(position));
        // What is late already waits for a place to go on.
        let late_at = if late_at <= now { now + Duration::from_millis(10) } else { late_at };
        (now + LOOK_EVERY).min(late_at).min(self.end_at).min(self.linger_until.unwrap_or(Time::NEVER))
    }

    fn take_events(&mut self) -> Result<(), ToolError> {
        let now = self.session.now();
        while let Some(event) = self.session.next_event() {
            match event {
                Event::Stream(job, event) if job == self.job => self.take_stream_event(now, event)?,
                Event::Neighbour(address) => self.add_found(address, Origin::Lan, false),
                Event::Answer { from, answer: Answer::Peers(peers), .. } if !self.is_limited => {
                    let job = self.job;
                    self.session.call(|node, now, _| node.add_suggestions(now, job, from, &peers));
                }
                _ => {}
            }
        }
        if let Some(late) = &mut self.late {
            let edge = self.session.node().stream_progress(self.job).map_or(0, |progress| progress.edge);
            late.on_edge(now, edge);
        }
        Ok(())
    }

    fn take_stream_event(&mut self, now: Time, event: StreamEvent) -> Result<(), ToolError> {
        match event {
            StreamEvent::Started { offset } => {
                if self.position.is_none() {
                    self.position = Some(offset);
                    // Before the first bytes, which may be passed on in this very turn.
                    self.delay.on_position(self.session.unix_ms(now), offset);
                    self.report.print(&Told::Started { id: &self.report.id, offset })?;
                    log::info!("{}: from byte {offset} on", self.id);
                }
            }
            StreamEvent::Statement(statement) => {
                (self.is_heard, self.news_at) = (true, now);
                let Statement { end, time, joins, .. } = statement.statement();
                for join in joins {
                    self.delay.on_point(join.offset, join.time);
                }
                self.delay.on_point(*end, *time);
                let unix_ms = self.session.unix_ms(now);
                if let Some(late) = &mut self.late {
                    late.on_statement(now, unix_ms, statement.statement());
                }
                self.statement = Some(*statement);
            }
            StreamEvent::Block { .. } => (self.is_heard, self.news_at) = (true, now),
            StreamEvent::Contradiction { index } => {
                let message = format!("its origin signed two contents of block {index}");
                return Err(ToolError::new(Exit::Mismatch, message));
            }
            StreamEvent::NoSource => log::info!("{}: no known peer gives any of it now", self.id),
            StreamEvent::Misbehaved(address) => {
                log::info!("{}: {address} gave what its key did not sign", self.id);
            }
            StreamEvent::Failed(why) => return Err(ToolError::failure(why)),
        }
        Ok(())
    }

    fn add_found(&mut self, address: SocketAddr, origin: Origin, suggested: bool) {
        let (job, now) = (self.job, self.session.now());
        self.peers.add_found(address, origin, suggested, now);
        self.session.call(|node, now, _| node.add_source(now, job, address, suggested));
    }

    /// Asks those whose names have an address now, and those that were found in the DHT.
    fn ask_others(&mut self) {
        let job = self.job;
        for (address, of_user) in self.peers.take_named(self.session.now()) {
            self.session.call(|node, now, _| match of_user {
                true => node.add_named_source(now, job, address),
                false => node.add_source(now, job, address, false),
            });
        }
        let found: Vec<_> = self.dht.iter().flat_map(Mainline::found).map(|found| found.address).collect();
        found.into_iter().for_each(|address| self.add_found(address, Origin::Dht, true));
    }

    /// Passes on what comes next.
    fn feed(&mut self) -> Result<(), ToolError> {
        let most = if self.late.is_some() { QUEUE_IN_TIME } else { QUEUE };
        let statement = self.statement.as_ref().map(SignedStatement::statement);
        let Some(mut position) = self.position.filter(|_| self.linger_until.is_none()) else { return Ok(()) };
        while self.outlet.waiting() < most {
            let store = self.session.store().blocks();
            match next(position, |index| store.peek(index).cloned(), statement) {
                Next::Bytes(block, range) => {
                    position += (range.end - range.start) as u64;
                    self.outlet.push(block, range);
                }
                Next::Gap(gap) => {
                    self.report.print(&Told::Part { id: &self.report.id, from: gap.start, to: gap.end })?;
                    log::info!("{}: a part begins at byte {}", self.id, gap.end);
                    position = gap.end;
                }
                Next::Missing => break,
                Next::End => {
                    self.at_end = true;
                    break;
                }
            }
        }
        self.position = Some(position);
        Ok(())
    }

    /// Goes on after what came too late, if there is a place for that.
    fn skip_what_is_late(&mut self) -> Result<(), ToolError> {
        let (Some(late), Some(position)) = (&mut self.late, self.position) else { return Ok(()) };
        if self.session.now() < late.due(position) {
            return Ok(());
        }
        let store = self.session.store().blocks();
        let statement = self.statement.as_ref().map(SignedStatement::statement);
        let joins = statement.map(|statement| &statement.joins[..]).unwrap_or_default();
        let Some(to) = go_on_at(position, joins, |offset| store.has(offset), store.last_run()) else {
            return Ok(());
        };
        self.totals.gaps += 1;
        self.totals.skipped += to - position;
        self.position = Some(to);
        log::info!("{}: {} came too late, from byte {position} on", self.id, size::human(to - position));
        self.report.print(&Told::Late { id: &self.report.id, from: position, to })
    }

    /// Goes on with the oldest that anybody has, where nobody gives what comes before that.
    fn skip_what_is_gone(&mut self) -> Result<(), ToolError> {
        let oldest = self.session.node().stream_progress(self.job).and_then(|progress| progress.oldest);
        let (Some(position), Some(oldest)) = (self.position, oldest) else { return Ok(()) };
        let is_stuck = self.session.now().since(self.moved_at) >= GONE_AFTER && self.outlet.waiting() == 0;
        if position >= oldest || !is_stuck {
            return Ok(());
        }
        self.position = Some(oldest);
        let gone = size::human(oldest - position);
        log::warn!("{}: {gone} are kept by nobody any more, from byte {position} on", self.id);
        self.report.print(&Told::Part { id: &self.report.id, from: position, to: oldest })
    }

    /// Tells the node how far the reader is.
    fn tell_position(&mut self) {
        let Some(position) = self.position else { return };
        let done = match self.outlet.waiting() {
            0 => position,
            _ => self.outlet.position().unwrap_or(self.told.unwrap_or(0)),
        };
        if self.told.is_none_or(|told| done > told) {
            self.told = Some(done);
            self.moved_at = self.session.now();
            self.delay.on_position(self.session.unix_ms(self.session.now()), done);
            self.session.call(|node, now, _| node.set_stream_position(now, self.job, done));
        }
    }

    fn is_over(&mut self) -> Result<bool, ToolError> {
        let now = self.session.now();
        if now >= self.end_at {
            self.complete()?;
            return Ok(true);
        }
        if !self.at_end || self.outlet.waiting() > 0 {
            return Ok(false);
        }
        let until = match self.linger_until {
            Some(until) => until,
            None => {
                self.complete()?;
                // For as long as it was to be passed on, or at least to those who are about to get the last of it.
                let until = if self.end_at == Time::NEVER { now + LINGER } else { self.end_at };
                self.linger_until = Some(until);
                until
            }
        };
        let has_viewers = self.session.node().stream_progress(self.job).is_some_and(|now| now.viewers > 0);
        Ok(now >= until || self.end_at == Time::NEVER && !has_viewers)
    }

    /// All is written: a file gets its name.
    fn complete(&mut self) -> Result<(), ToolError> {
        if self.linger_until.is_some() {
            return Ok(());
        }
        self.show_progress();
        self.totals.length = self.totals.resumed + self.outlet.written();
        self.totals.delay_ms = self.delay.newest();
        if let Some(Target::File(file)) = self.outlet.finish()? {
            self.totals.length = file.length();
            file.publish(self.force).map_err(|error| {
                let kept = cjp2p_io::names::shown(file.partial()).to_string();
                let message = format!("{}: {error}; it is in {kept}", cjp2p_io::names::shown(file.target()));
                ToolError::new(Exit::Destination, message)
            })?;
            let took = self.session.now().since(Time::ZERO).as_millis() as u64;
            self.report.complete(file.target(), self.totals, self.at_end, took)?;
        }
        if self.totals.gaps > 0 {
            let plural = if self.totals.gaps == 1 { "" } else { "s" };
            let skipped = size::human(self.totals.skipped);
            log::warn!("{} gap{plural}: {skipped} came too late and were left out", self.totals.gaps);
        }
        Ok(())
    }

    fn fail_in_time(&mut self) -> Result<(), ToolError> {
        let now = self.session.now();
        if self.linger_until.is_some() {
            return Ok(());
        }
        if !self.is_heard {
            if self.peers.is_nobody() && self.dht.is_none() {
                let message =
                    "nobody to ask: the peer table is empty, and no peer that was named has an address";
                return Err(ToolError::new(Exit::NoSource, message));
            }
            if now.since(self.news_at) >= self.timeout {
                let time = duration::human(self.timeout);
                let message = format!("no peer offered any of it within {time}");
                return Err(ToolError::new(Exit::NoSource, message));
            }
            return Ok(());
        }
        if self.outlet.waiting() > 0 {
            // The reader pauses.
            (self.news_at, self.moved_at) = (now, now);
        }
        // An origin that says nothing of the whole may be quiet for as long as it likes.
        if self.statement.is_some() && now.since(self.news_at) >= self.stall {
            let message = format!("its origin was silent for {}", duration::human(self.stall));
            return Err(ToolError::new(Exit::Stalled, message));
        }
        let edge = self.session.node().stream_progress(self.job).map_or(0, |progress| progress.edge);
        match self.position.filter(|position| *position < edge && now.since(self.moved_at) >= self.stall) {
            Some(position) => {
                let time = duration::human(self.stall);
                let message = format!("no peer gave what comes at byte {position} for {time}");
                Err(ToolError::new(Exit::Stalled, message))
            }
            None => {
                if self.position.is_none_or(|position| position >= edge) {
                    // There is nothing to pass on.
                    self.moved_at = now;
                }
                Ok(())
            }
        }
    }

    fn show_progress(&mut self) {
        let now = self.session.now();
        if now.since(self.shown_at) < LOOK_EVERY && !self.at_end {
            return;
        }
        self.shown_at = now;
        let sources = self.session.node().stream_progress(self.job).map_or(0, |progress| progress.sources);
        let live =
            Live { delay_ms: self.delay.newest(), gaps: self.totals.gaps, skipped: self.totals.skipped };
        self.progress.set_live(live);
        self.progress.update(self.totals.resumed + self.outlet.written(), None, sources);
    }

    /// Writes down what is needed to resume, and the peers that we met. Tells how it ended.
    pub(super) fn save(&mut self, ended: &Result<Option<Signal>, ToolError>) {
        if self.linger_until.is_none()
            && !matches!(ended, Ok(None))
            && let Some(kept) = self.outlet.abandon(self.is_file)
        {
            log::warn!("what came is kept in {}", cjp2p_io::names::shown(kept));
        }
        if let Err(error) = ended {
            let event = Told::Failed { id: &self.report.id, exit: error.exit as u8, error: &error.message };
            // What cannot be printed was said already.
            let _ = self.report.print(&event);
        }
        self.session.call(|node, now, _| node.end_stream(now, self.job));
        self.peers.save_at_end(&self.session);
    }
}
