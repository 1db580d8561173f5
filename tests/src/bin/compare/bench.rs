//! What the rows have in common: the programs, a place for files, the nets, and taking turns.

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use cjp2p_tests::content;
use cjp2p_tests::lab::{Error, Programs};
use cjp2p_tests::table::Mark;

use crate::installed::{Missing, Others};
use crate::net::Net;
use crate::process::Sample;
use crate::report::{Line, Memory};

/// The bytes of a MiB.
pub(crate) const MIB: u64 = 1 << 20;

/// How much content is made at a time.
const PIECE: u64 = 8 * MIB;

/// What the program was started with, and what the rows share.
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) others: Others,
    /// How often each row is measured.
    pub(crate) runs: usize,
    /// The length of what is fetched and hashed, in bytes.
    pub(crate) size: u64,
    /// How many files the rows `restart` and `folder` have.
    pub(crate) files: usize,
    pub(crate) loopback: Net,
    veth: OnceCell<Result<Net, Missing>>,
    scratch: PathBuf,
    count: Cell<u64>,
    /// What the row that is being measured took of memory.
    memory: RefCell<Memory>,
}

impl Bench {
    pub(crate) fn new(
        programs: Programs,
        others: Others,
        scratch: &Path,
        runs: usize,
        size: u64,
        files: usize,
    ) -> Bench {
        Bench {
            programs,
            others,
            runs,
            size,
            files,
            loopback: Net::Loopback,
            veth: OnceCell::new(),
            scratch: scratch.to_path_buf(),
            count: Cell::new(0),
            memory: RefCell::default(),
        }
    }

    /// The veth pair, made when it is first needed.
    ///
    /// # Errors
    ///
    /// Why it cannot be had.
    pub(crate) fn veth(&self) -> Result<&Net, Error> {
        let net = self.veth.get_or_init(|| Net::veth().map_err(|error| Missing(error.to_string())));
        net.as_ref().map_err(|why| why.clone().into())
    }

    /// A folder that vanishes when dropped.
    pub(crate) fn folder(&self) -> Result<tempfile::TempDir, Error> {
        Ok(tempfile::tempdir_in(&self.scratch)?)
    }

    /// A folder that stays until the end.
    pub(crate) fn kept_folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.scratch.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The folder with the content that most rows fetch: `content` and nothing else.
    pub(crate) fn shared(&self) -> Result<PathBuf, Error> {
        let folder = self.kept_folder("shared")?;
        if !folder.join("content").exists() {
            self.write_content(&folder.join("content"), self.size)?;
        }
        Ok(folder)
    }

    /// Writes so many bytes that look random, and are not those of another file.
    pub(crate) fn write_content(&self, path: &Path, length: u64) -> Result<(), Error> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut left = length;
        while left > 0 {
            self.count.set(self.count.get() + 1);
            file.write_all(&content::bytes(self.count.get(), left.min(PIECE) as usize))?;
            left -= left.min(PIECE);
        }
        file.flush()?;
        Ok(())
    }

    /// Does all in turn, as often as there are runs, after a first time that does not count. Every other time the order is
    /// turned round, so that none is always the one that comes after a certain other.
    ///
    /// # Errors
    ///
    /// The first.
    pub(crate) fn in_turn<const N: usize>(
        &self,
        todo: [&mut dyn FnMut() -> Result<Sample, Error>; N],
    ) -> Result<[Vec<Sample>; N], Error> {
        let mut samples = [const { Vec::new() }; N];
        for run in 0..=self.runs {
            for at in 0..N {
                let at = if run % 2 == 0 { at } else { N - 1 - at };
                let sample = todo[at]()?;
                if run > 0 {
                    samples[at].push(sample);
                }
            }
            if run > 0 {
                let told: Vec<_> =
                    samples.iter().filter_map(|own| Some(format!("{:.3} s", own.last()?.seconds))).collect();
                eprintln!("compare: run {run} of {}: {}", self.runs, told.join(", "));
            }
        }
        Ok(samples)
    }

    /// Takes note of memory that one of our programs had resident.
    pub(crate) fn note_memory(&self, server: u64, getter: u64) {
        let mut memory = self.memory.borrow_mut();
        memory.server = memory.server.max(server);
        memory.getter = memory.getter.max(getter);
    }

    /// What was noted since this was last called.
    pub(crate) fn take_memory(&self) -> Option<Memory> {
        let memory = self.memory.take();
        (memory.server.max(memory.getter) > 0).then_some(memory)
    }
}

/// Content per second, with a mark for the ratio.
pub(crate) fn rates(what: &str, mark: Mark, length: u64, ours: &[Sample], other: &[Sample]) -> Line {
    let rate =
        |samples: &[Sample]| samples.iter().map(|sample| length as f64 / sample.seconds / 1e6).collect();
    Line::ratio(what, mark, rate(ours), rate(other))
}

/// Processor time per GiB of content, with a mark for the ratio.
pub(crate) fn processor_time(what: &str, mark: Mark, length: u64, ours: &[Sample], other: &[Sample]) -> Line {
    let gibibytes = length as f64 / (1024 * MIB) as f64;
    let time = |samples: &[Sample]| samples.iter().map(|sample| sample.cpu / gibibytes).collect();
    Line::ratio(what, mark, time(ours), time(other))
}
