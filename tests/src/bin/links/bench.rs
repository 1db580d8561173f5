//! What the rows have in common: a place for files, usual links, and a source with something to fetch.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::lab::programs::{self, Job, Outcome};
use cjp2p_tests::lab::{Error, Get, Lab, Programs, Serve};
use cjp2p_tests::sim::Link;

/// No run takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// What file the getter writes.
pub(crate) const OUTPUT: &str = "output";

/// The programs, and where they may write.
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    /// How often the row `kills` kills.
    pub(crate) kills: u32,
    scratch: PathBuf,
    count: Cell<u64>,
}

impl Bench {
    pub(crate) fn new(programs: Programs, scratch: &Path, kills: u32) -> Bench {
        Bench { programs, kills, scratch: scratch.to_path_buf(), count: Cell::new(0) }
    }

    /// A number that no run had before, in the same order each time: a seed.
    pub(crate) fn count(&self) -> u64 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    /// A folder that stays until the end.
    pub(crate) fn kept_folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.scratch.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A folder that vanishes when dropped.
    pub(crate) fn folder(&self) -> Result<tempfile::TempDir, Error> {
        Ok(tempfile::tempdir_in(&self.scratch)?)
    }
}

/// A link of so many Mbit/s that adds so many milliseconds to each round trip, with such a queue and MTU 1500.
pub(crate) fn link(megabits: u64, rtt: u64, queue: u64) -> Link {
    Link { rate: Some(megabits * 125_000), delay: Duration::from_micros(rtt * 500), queue, ..Link::default() }
}

/// A link that does not matter beside those of the sources.
pub(crate) fn fast() -> Link {
    link(1000, 0, 8 << 20)
}

/// The bytes that a link holds on its way: its rate times the round trip.
pub(crate) fn bdp(megabits: u64, rtt: u64) -> u64 {
    megabits * 125 * rtt
}

/// Host 0 with a fast link is to fetch; hosts 1 and up have the content and serve it.
pub(crate) struct Stage<'a> {
    // In this order they end.
    pub(crate) serves: Vec<Serve>,
    pub(crate) lab: Lab,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) length: u64,
    /// How many hosts may be asked.
    sources: usize,
    bench: &'a Bench,
}

impl<'a> Stage<'a> {
    /// Sources with these links; all have the same content of so many MiB, which no other run has.
    pub(crate) fn new(bench: &'a Bench, sources: &[Link], mebibytes: u64) -> Result<Stage<'a>, Error> {
        Stage::with_silent(bench, sources, mebibytes, 0)
    }

    /// The same, but nothing runs on the last `silent` hosts.
    pub(crate) fn with_silent(
        bench: &'a Bench,
        sources: &[Link],
        mebibytes: u64,
        silent: usize,
    ) -> Result<Stage<'a>, Error> {
        let seed = bench.count();
        let folder = bench.folder()?;
        let length = mebibytes << 20;
        fs::create_dir(folder.path().join("shared"))?;
        fs::write(folder.path().join("shared/content"), content::bytes(seed, length as usize))?;
        let links: Vec<Link> = std::iter::once(fast()).chain(sources.iter().copied()).collect();
        let lab = Lab::start(&links, seed)?;
        let mut stage = Stage { serves: Vec::new(), lab, folder, length, sources: sources.len(), bench };
        for host in 1..links.len() - silent {
            let shared = stage.folder.path().join("shared");
            let state = stage.folder.path().join(format!("serve-{host}"));
            stage.serves.push(Serve::start(&stage.lab, host, &bench.programs, &shared, &state)?);
        }
        Ok(stage)
    }

    /// What was shared.
    pub(crate) fn content(&self) -> PathBuf {
        self.folder.path().join("shared/content")
    }

    /// The id of what is shared.
    pub(crate) fn id(&self) -> &str {
        self.serves.first().map_or("", |serve| &serve.id)
    }

    /// Starts the usual getter: on host 0, from all other hosts.
    pub(crate) fn get(&self, more: &[&str]) -> Result<Get, Error> {
        let job = Job {
            host: 0,
            id: self.id(),
            peers: (1..=self.sources).map(|host| self.lab.address(host)).collect(),
            folder: self.folder.path(),
            output: Some(OUTPUT),
            more: more.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        Get::start(&self.lab, &self.bench.programs, &job)
    }

    /// Waits for the usual getter, and compares what it wrote.
    pub(crate) fn finish(&self, get: &mut Get) -> Result<Outcome, Error> {
        let outcome = get.finish(LIMIT)?;
        programs::compare(&self.content(), &self.folder.path().join(OUTPUT))?;
        Ok(outcome)
    }
}

/// Bytes in so many seconds as Mbit/s.
pub(crate) fn megabits(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 * 8.0 / seconds / 1e6
}

/// What of the bytes that came was of no use, in percent.
pub(crate) fn wasted_percent(outcome: &Outcome) -> f64 {
    outcome.wasted as f64 * 100.0 / outcome.received.max(1) as f64
}
