//! Sees ids to their end: starts fetches, drives the node, and takes what threads and the node report.

mod from_time_to_time;
mod outcomes;
mod pieces;
mod places;
mod short;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use self::short::Short;
use cjp2p_cli::args::LockMode;
use cjp2p_cli::progress::Progress;
use cjp2p_cli::{Exit, ToolError, list, stdout};
use cjp2p_io::event_loop::{EventLoop, Waker};
use cjp2p_io::exchange::Exchange;
use cjp2p_io::peers::Peers;
use cjp2p_io::search::{Search, Sought};
use cjp2p_io::session::{Policy, Session};
use cjp2p_io::tasks::Tasks;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::{Download, DownloadEvent, Failure, Resume};
use cjp2p_wire::node::{Answer, Event};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;
use nix::sys::signal::Signal;

use crate::cli::{Cli, TOOL};
use crate::folder::command::Command;
use crate::folder::{Folder, Holders};
use crate::ids::{Given, Ids};
use crate::job::{Job, Limits, Outcome, Step, failure};
use crate::place::Places;
use crate::ranges::Ranges;
use crate::report::{Effort, Report};
use crate::sinks::prepare::prepare;
use crate::sinks::stream::{Output, Stream};
use crate::sinks::{Destination, Outlet};
use crate::store::Store;

/// What may be wrong where nobody at all answers.
const NOBODY_ON_THE_LINK: &str = "; nor did anybody on the local network answer: who shares it there may have to let UDP port 24254 in, \
                                  as by ufw allow 24254/udp";
/// Without new data for so long a fetch has stalled, if nothing else is said.
const STALL: Duration = Duration::from_secs(10);
/// How often progress is shown, and what has no event of its own is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a lock that another process holds is tried.
const TRY_LOCK_EVERY: Duration = Duration::from_millis(250);

/// What is fetched.
pub(crate) enum Fetched {
    /// Contents.
    Ids(Ids),
    /// A folder.
    Folder(Box<Command>),
}

/// See the [module](self).
pub(crate) struct Getter {
    session: Session<Store>,
    ids: Ids,
    ids_ended: bool,
    /// How many ids were taken up.
    count: u64,
    /// The ids that are being worked on, by their number, and those that were set aside.
    jobs: BTreeMap<u64, Job>,
    /// Those that were set aside, the first first.
    aside: VecDeque<u64>,
    /// When it is looked next which id may be set aside.
    places_at: Time,
    by_fetch: BTreeMap<JobId, u64>,
    tasks: Tasks<Outcome>,
    /// Threads for what is staged alone. They may have much to do for long, and what others wait for is short.
    hashing: Tasks<Outcome>,
    /// And for what others ask for.
    leaves: Tasks<Outcome>,
    peers: Peers,
    search: Search,
    exchange: Exchange,
    places: Places,
    outlet: Option<Outlet>,
    report: Report,
    /// What is said of digits alone was said.
    told_of_bare_digits: bool,
    progress: Progress,
    shown_at: Time,
    noted_at: Time,
    /// Bytes of the ids that are done.
    finished: u64,
    limits: Limits,
    ranges: Ranges,
    force: bool,
    lock: LockMode,
    waker: Waker,
    /// What is fetched in the place of single ids.
    folder: Option<Folder>,
    short: Short,
    holders: Holders,
    /// Where long files of a tar stream go as they come.
    tar_output: Option<Output>,
    /// When the last piece of a folder was whole.
    news_at: Time,
}

impl Getter {
    /// Ready to run.
    ///
    /// # Errors
    ///
    /// Where the system has no randomness left.
    pub(crate) fn start(
        cli: Cli,
        places: Places,
        outlet: Option<Outlet>,
        what: Fetched,
        (peers, search): (Peers, Search),
        event_loop: EventLoop,
    ) -> Result<Getter, ToolError> {
        let failed =
            |what: &'static str| move |error: io::Error| ToolError::failure(format!("{what}: {error}"));
        let waker = event_loop.waker();
        let prints = match &what {
            Fetched::Folder(folder) => folder.tells(),
            Fetched::Ids(_) => false,
        };
        if cli.json || prints {
            stdout::write_behind(waker.clone());
        }
        let policy = Policy { answers: !cli.no_share, json_only: cli.framing.no_raw, ..Policy::default() };
        let mut session =
            Session::start(event_loop, policy, Store::default()).map_err(failed("random numbers"))?;
        if peers.lan_delay().is_some() {
            session.join_lan(!cli.no_share).map_err(failed("local network"))?;
        }
        let (ids, ids_ended, folder, tar_output) = match what {
            Fetched::Ids(ids) => (ids, false, None, None),
            Fetched::Folder(command) => {
                let output = command.output().map_err(failed("descriptors"))?;
                (Ids::none(), true, Some(command.start(waker.clone())?), output)
            }
        };
        Ok(Getter {
            folder,
            short: Short::default(),
            holders: Holders::default(),
            tar_output,
            news_at: Time::ZERO,
            search,
            exchange: Exchange::default(),
            session,
            ids,
            ids_ended,
            count: 0,
            jobs: BTreeMap::new(),
            aside: VecDeque::new(),
            places_at: Time::ZERO,
            by_fetch: BTreeMap::new(),
            tasks: Tasks::new(waker.clone()),
            hashing: Tasks::new(waker.clone()),
            leaves: Tasks::new(waker.clone()),
            peers,
            places,
            outlet,
            report: Report::new(cli.json),
            told_of_bare_digits: false,
            progress: cli.progress.start(TOOL, &cli.log),
            shown_at: Time::ZERO,
            noted_at: Time::ZERO,
            finished: 0,
            limits: Limits { timeout: cli.timeout, stall: cli.stall.unwrap_or(STALL) },
            ranges: Ranges::new(cli.ranges),
            force: cli.force,
            lock: cli.lock.unwrap_or_default(),
            waker,
        })
    }

    /// Runs until all ids are done, or gives the signal that ended it.
    ///
    /// # Errors
    ///
    /// What ends the tool and not only one id: the socket fails, or standard output does.
    pub(crate) fn run(&mut self) -> Result<Option<Signal>, ToolError> {
        loop {
            self.start_jobs()?;
            self.turn_folder()?;
            self.take_events()?;
            self.fail_without_peers()?;
            if self.jobs.is_empty() && self.ids_ended && self.folder.as_ref().is_none_or(Folder::is_over) {
                if self.report.exit() == Exit::Done {
                    self.show_progress();
                }
                return Ok(None);
            }
            self.hash_staged();
            self.work_for_others();
            let until = self.session.now() + LOOK_EVERY;
            let wake =
                self.session.turn(until).map_err(|error| ToolError::failure(format!("network: {error}")))?;
            if wake.signal.is_some() {
                return Ok(wake.signal);
            }
            self.take_events()?;
            if wake.woken {
                self.on_woken()?;
            }
            self.retry_locks();
            self.tell_of_bare_digits_in_time();
            let waits = !self.peers.is_nobody();
            let sought = self.jobs.values().filter_map(|job| match job.step {
                Step::Fetching(fetch) => {
                    let waits = waits || job.remembered > 0;
                    Some(Sought { fetch, id: &job.id, started: job.started, waits })
                }
                _ => None,
            });
            self.search.turn(self.session.now(), self.session.node(), sought);
            self.show_progress_sometimes();
            self.note_sources_sometimes();
            self.peers.save_sometimes(&self.session);
        }
    }

    /// Writes down what is needed to resume later, and the peers that we met.
    pub(crate) fn save(&mut self) {
        if let Some(kept) = self.folder.as_mut().filter(|folder| !folder.is_over()).and_then(Folder::abandon)
        {
            log::warn!("{kept}");
        }
        self.note_sources();
        self.session.store_mut().abandon_all();
        self.peers.save_at_end(&self.session);
    }

    /// Tells how it ended.
    pub(crate) fn finish(self) -> Exit {
        let exit = self.report.exit();
        if exit == Exit::Done {
            self.progress.finish();
        }
        exit
    }

    fn start_job(&mut self, number: u64, given: Given) -> Result<(), ToolError> {
        let id = given.id.clone();
        let paths = self.places.paths(&id);
        let is_file = paths.is_some();
        self.jobs.insert(number, Job::new(given, paths, self.session.now()));
        if is_file {
            self.prepare(number);
            return Ok(());
        }
        // There is one output, and one id that goes to it.
        let destination: Box<dyn Destination> = match (self.outlet.take(), &id) {
            (Some(Outlet::Stream(output)), ContentId::Blake3(root)) => {
                let stream = Stream::start(*root, self.ranges.specs(), output, self.waker.clone());
                Box::new(stream.map_err(|error| ToolError::failure(format!("threads: {error}")))?)
            }
            (Some(Outlet::Whole(temporary)), _) => Box::new(temporary),
            _ => return Ok(()),
        };
        self.begin_fetch(number, destination, None, Vec::new());
        Ok(())
    }

    /// Has a thread look at what is there of an id's file.
    fn prepare(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let (id, Some(paths), force) = (job.id.clone(), job.paths.clone(), self.force) else { return };
        let ranges = self.ranges.clone();
        job.step = Step::Preparing;
        self.tasks.run(move || Outcome::Prepared(number, prepare(&id, ranges, paths, force)));
    }

    /// `remembered`: peers to ask beside all known ones, and whether only sparingly.
    fn begin_fetch(
        &mut self,
        number: u64,
        mut destination: Box<dyn Destination>,
        resume: Option<Resume>,
        remembered: Vec<(SocketAddr, bool)>,
    ) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        let (id, is_limited) = (job.id.clone(), self.peers.limits(&job.id));
        job.remembered = if is_limited { 0 } else { remembered.len() };
        let done = resume.as_ref().map(|resume| resume.done.clone()).unwrap_or_default();
        job.resumed = done.total();
        let now = self.session.now();
        job.in_place_since = now;
        let waited = now.since(job.started);
        let spec = self.limits.spec(job.id.clone(), &self.ranges, resume, job.paths.is_none(), waited);
        let fetch = self.session.call(|node, now, _| node.start_fetch(now, spec));
        job.step = Step::Fetching(fetch);
        self.progress.add_there(self.session.node().progress(fetch).unwrap_or_default().done);
        destination.wake_by(self.waker.clone());
        self.session.store_mut().insert(fetch, &job.id, destination, done);
        self.by_fetch.insert(fetch, number);
        self.add_sources(&id, fetch, remembered);
    }

    /// Has all known peers asked for what this fetch fetches, and these.
    fn add_sources(&mut self, id: &ContentId, fetch: JobId, remembered: Vec<(SocketAddr, bool)>) {
        let is_limited = self.peers.limits(id);
        let named: Vec<SocketAddr> = self.peers.of_user().collect();
        if is_limited {
            self.session.call(|node, now, _| node.limit_sources(now, fetch));
        }
        for address in named {
            self.session.call(|node, now, _| node.add_named_source(now, fetch, address));
        }
        if is_limited {
            return;
        }
        let others: Vec<_> = self.peers.others().map(|(address, peer)| (address, peer.suggested)).collect();
        let had_some: Vec<SocketAddr> = remembered.iter().map(|(address, _)| *address).collect();
        for (address, suggested) in remembered.into_iter().chain(others) {
            self.session.call(|node, now, _| node.add_source(now, fetch, address, suggested));
        }
        let named = self.peers.of_user();
        for (address, named) in had_some.iter().map(|a| (*a, false)).chain(named.map(|a| (a, true))) {
            self.session.call(|node, _, _| node.rely_on(fetch, address, named));
        }
        for &address in self.peers.nearest() {
            self.session.call(|node, now, _| node.add_known(now, fetch, address));
        }
        if let Some(delay) = self.peers.lan_delay() {
            self.session.call(|node, now, _| node.look_on_lan(now, fetch, delay));
        }
    }

    /// Asks those whose names have an address now.
    fn ask_named(&mut self) {
        let fetches: Vec<JobId> = self.by_fetch.keys().copied().collect();
        for (address, of_user) in self.peers.take_named(self.session.now()) {
            for &fetch in &fetches {
                self.session.call(|node, now, _| match of_user {
                    true => node.add_named_source(now, fetch, address),
                    false => node.add_source(now, fetch, address, false),
                });
            }
        }
    }

    /// Asks a peer that was found just now.
    fn add_found(&mut self, fetch: JobId, address: SocketAddr, origin: Origin, suggested: bool) {
        self.peers.add_found(address, origin, suggested, self.session.now());
        self.session.call(|node, now, _| node.add_source(now, fetch, address, suggested));
    }

    fn set_step(&mut self, number: u64, step: Step) {
        if let Some(job) = self.jobs.get_mut(&number) {
            job.step = step;
        }
    }

    fn take_events(&mut self) -> Result<(), ToolError> {
        while let Some(event) = self.session.next_event() {
            match event {
                Event::Download(fetch, event) => {
                    if let Some(&number) = self.by_fetch.get(&fetch) {
                        self.on_fetch_event(number, fetch, event)?;
                    }
                }
                Event::Answer { from, answer: Answer::Peers(peers), .. } => self.on_peers(from, &peers),
                Event::Neighbour(address) => {
                    for fetch in self.by_fetch.keys().copied().collect::<Vec<_>>() {
                        self.add_found(fetch, address, Origin::Lan, false);
                    }
                }
                Event::Answer { .. }
                | Event::Latest { .. }
                | Event::Unanswered(_)
                | Event::PathOpened(_)
                | Event::AskLan(_)
                | Event::Stream(..)
                | Event::AskNeighbours(_) => {}
            }
        }
        Ok(())
    }

    fn on_fetch_event(&mut self, number: u64, fetch: JobId, event: DownloadEvent) -> Result<(), ToolError> {
        match event {
            DownloadEvent::Length(length) => {
                if !self.refuse_length(number, length)? {
                    self.session.store_mut().on_length(fetch, length);
                }
            }
            DownloadEvent::Staged(length) => {
                if let Err(error) = self.session.store_mut().on_all_staged(fetch, length) {
                    return self.fail(number, &error);
                }
                self.set_step(number, Step::Judging(fetch));
                self.judge(number);
            }
            DownloadEvent::Complete(length) if self.jobs.get(&number).is_some_and(Job::is_short) => {
                self.on_short(number, fetch, length)?;
            }
            DownloadEvent::Complete(length) => {
                let Some(job) = self.jobs.get_mut(&number) else { return Ok(()) };
                job.step = Step::Publishing(fetch);
                job.length = Some(length);
                job.last = self.session.node().progress(fetch).unwrap_or_default();
                if let ContentId::Sha256(hash) = job.id {
                    let tree = self.session.node().fetch(fetch).and_then(|fetch| fetch.verifier());
                    if let Some(tree) = tree.cloned() {
                        self.session.store_mut().on_tree(fetch, hash, tree);
                    }
                }
                self.end_fetch(fetch);
                if let Some(publication) = self.session.store_mut().publish(fetch, length) {
                    self.tasks.run(move || Outcome::Published(number, publication()));
                }
            }
            DownloadEvent::Misbehaved(address, _) => self.session.store_mut().forget_source(fetch, address),
            DownloadEvent::Failed(Failure::Destination(error)) => {
                let error = self.session.store().failure(fetch, error);
                self.fail(number, &error)?;
            }
            DownloadEvent::Failed(why) => {
                let kept = self.session.store_mut().abandon(fetch);
                let remembered = self.jobs.get(&number).map_or(0, |job| job.remembered);
                let is_limited = self.jobs.get(&number).is_some_and(|job| self.peers.limits(&job.id));
                let asked = match is_limited {
                    true => self.peers.of_user().count(),
                    false => self.peers.iter().count() + remembered,
                };
                let mut error = failure(&why, &self.limits, &self.ranges, asked, kept.as_deref());
                if error.exit == Exit::NoSource
                    && !is_limited
                    && self.peers.lan_delay().is_some()
                    && !self.session.node().has_heard_lan()
                {
                    error.message += NOBODY_ON_THE_LINK;
                }
                self.fail(number, &error)?;
            }
        }
        Ok(())
    }

    fn end_fetch(&mut self, fetch: JobId) {
        self.session.call(|node, now, _| node.end_fetch(now, fetch));
        self.search.forget(fetch);
    }

    /// An id is done.
    fn complete(&mut self, number: u64, already: bool) -> Result<(), ToolError> {
        let Some(job) = self.jobs.remove(&number) else { return Ok(()) };
        if let Some(fetch) = job.fetch() {
            self.by_fetch.remove(&fetch);
        }
        if let Some(piece) = &job.piece {
            self.on_long(piece);
            return Ok(());
        }
        let length = job.length.unwrap_or(0);
        let selected = self.ranges.select(length);
        self.finished += selected.iter().map(|range| range.end - range.start).sum::<u64>();
        let ranges = (!self.ranges.is_empty()).then(|| match job.paths {
            Some(_) => self.ranges.set(length).iter().collect(),
            None => selected,
        });
        let took = self.session.now().since(job.started);
        let effort = Effort { length, ranges, took, progress: job.last, resumed: job.resumed, already };
        if already {
            log::info!("{}: is there already", job.id);
        }
        let path = match (&job.paths, &self.places) {
            (Some(paths), _) => Some(&*paths.target),
            (None, Places::Device(path)) => Some(&**path),
            (None, _) => None,
        };
        self.report.complete(&job.id, path, &effort)
    }

    /// An id failed. Where it was the only one that can go to the output, so has the tool.
    fn fail(&mut self, number: u64, error: &ToolError) -> Result<(), ToolError> {
        let Some(job) = self.jobs.remove(&number) else { return Ok(()) };
        if let Some(fetch) = job.fetch() {
            self.by_fetch.remove(&fetch);
            self.end_fetch(fetch);
            self.session.store_mut().abandon(fetch);
        }
        if job.piece.is_some() {
            return self.on_piece_failed(&job, error);
        }
        if error.exit == Exit::NoSource && job.is_bare && !self.told_of_bare_digits {
            self.told_of_bare_digits = true;
            let error = ToolError::new(error.exit, format!("{error}; {}", list::of_bare_digits(&job.id)));
            return self.report.failed(number, Some(&job.id), &error);
        }
        self.report.failed(number, Some(&job.id), error)
    }

    /// To wait makes no sense where no peer could answer.
    fn fail_without_peers(&mut self) -> Result<(), ToolError> {
        if !self.peers.is_nobody() || self.search.is_on() {
            return Ok(());
        }
        let may_have_all = |fetch| self.session.node().fetch(fetch).is_some_and(Download::may_have_all);
        let is_alone = |job: &Job| match job.step {
            Step::Fetching(fetch) => job.remembered == 0 && !may_have_all(fetch),
            _ => false,
        };
        let waiting = self.jobs.iter().filter(|(_, job)| is_alone(job));
        let waiting: Vec<u64> = waiting.map(|(&number, _)| number).collect();
        for number in waiting {
            let message = "nobody to ask: the peer table is empty, and no peer that was named has an address";
            self.fail(number, &ToolError::new(Exit::NoSource, message))?;
        }
        Ok(())
    }
}
