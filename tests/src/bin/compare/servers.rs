//! What a server has to do with many: many files, and many getters.

use std::fs;
use std::path::Path;

use cjp2p_tests::lab::{Error, programs};
use cjp2p_tests::table::Mark;

use crate::bench::{Bench, MIB};
use crate::net::Net;
use crate::ours::Serve;
use crate::process::{Program, Sample};
use crate::report::Line;

/// How many files lie in one folder.
const FILES_IN_A_FOLDER: usize = 1000;

/// Getters at once.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    getters: usize,
    /// The length of what each fetches.
    length: u64,
    /// The clock runs from when all of them are ready, and are told what to fetch; or else from their start.
    from_ready: bool,
}

pub(crate) const HUNDRED: Crowd = Crowd { getters: 100, length: 16 * MIB, from_ready: false };
pub(crate) const THOUSAND: Crowd = Crowd { getters: 1000, length: MIB, from_ready: true };

impl Crowd {
    /// What all of them fetch, in bytes.
    pub(crate) const fn together(self) -> u64 {
        self.getters as u64 * self.length
    }
}

/// A server that is started again, after it has been ready and was asked to end.
pub(crate) fn restart(bench: &Bench) -> Result<Vec<Line>, Error> {
    let folder = bench.folder()?;
    let [shared, state] = ["shared", "state"].map(|name| folder.path().join(name));
    for n in 0..bench.files {
        let part = shared.join((n / FILES_IN_A_FOLDER).to_string());
        if n % FILES_IN_A_FOLDER == 0 {
            fs::create_dir_all(&part)?;
        }
        fs::write(part.join(n.to_string()), format!("This is file {n}.\n"))?;
    }
    let first = start(bench, &shared, &state)?;
    let mut restart = || {
        let seconds = start(bench, &shared, &state)?;
        Ok(Sample { seconds, ..Sample::default() })
    };
    let [again] = bench.in_turn([&mut restart])?;
    Ok(vec![
        Line::ours(
            "seconds until it is ready",
            Mark::AtMost(2.0),
            again.iter().map(|sample| sample.seconds).collect(),
            Vec::new(),
        ),
        Line::ours("seconds the first time, when it hashes all", Mark::None, vec![first], Vec::new()),
    ])
}

/// Starts a server, and asks it to end as soon as it is ready; says how long it took to be so.
fn start(bench: &Bench, shared: &Path, state: &Path) -> Result<f64, Error> {
    let serve = Serve::start(bench, &bench.loopback, shared, state)?;
    if serve.ids.len() != bench.files {
        return Err(format!("{} files are shared", serve.ids.len()).into());
    }
    bench.note_memory(serve.server.peak(), 0);
    let seconds = serve.seconds;
    serve.server.end()?;
    Ok(seconds)
}

pub(crate) fn hundred(bench: &Bench) -> Result<Vec<Line>, Error> {
    many(bench, bench.veth()?, HUNDRED, 0.7)
}

pub(crate) fn thousand(bench: &Bench) -> Result<Vec<Line>, Error> {
    many(bench, bench.veth()?, THOUSAND, 0.5)
}

pub(crate) fn hundred_loopback(bench: &Bench) -> Result<Vec<Line>, Error> {
    many(bench, &bench.loopback, HUNDRED, 0.7)
}

/// Getters at once, each of another file, beside one that fetches one long file.
fn many(bench: &Bench, net: &Net, crowd: Crowd, least: f64) -> Result<Vec<Line>, Error> {
    let one = Serve::of_shared(bench, net)?;
    let folder = bench.folder()?;
    let [shared, state] = ["shared", "state"].map(|name| folder.path().join(name));
    fs::create_dir(&shared)?;
    for n in 0..crowd.getters {
        bench.write_content(&shared.join(n.to_string()), crowd.length)?;
    }
    let serve = Serve::start(bench, net, &shared, &state)?;
    let mut all = || {
        let own = bench.folder()?;
        let mut getters = Vec::new();
        for (path, ids) in &serve.ids {
            let name = path.file_name().ok_or("a file without a name")?;
            let folder = own.path().join(name);
            fs::create_dir(&folder)?;
            let id = if crowd.from_ready { "-" } else { &ids[0] };
            let mut command = serve.getter(id, &folder)?;
            command.arg("-o").arg(folder.join("output"));
            let told = crowd.from_ready.then(|| format!("{}\n", ids[0]));
            getters.push(Program { command, told });
        }
        let sample = serve.measure(getters, own.path())?;
        for (path, ids) in &serve.ids {
            let name = path.file_name().ok_or("a file without a name")?;
            let output = own.path().join(name).join("output");
            // What is read from a list goes to a folder.
            let file = if crowd.from_ready { output.join(&ids[0]) } else { output };
            programs::compare(path, &file)?;
        }
        Ok(sample)
    };
    let [all, alone] = bench.in_turn([&mut all, &mut || one.get()])?;
    let together = crowd.together();
    let per = |length: u64, samples: &[Sample], figure: fn(f64, Sample) -> f64| {
        samples.iter().map(|sample| figure(length as f64, *sample)).collect()
    };
    let rate = |length, sample: Sample| length / sample.seconds / 1e6;
    let cpu = |length, sample: Sample| sample.cpu / (length / (1024 * MIB) as f64);
    Ok(vec![
        Line::ratio(
            "MB/s of all together; of one alone",
            Mark::AtLeast(least),
            per(together, &all, rate),
            per(bench.size, &alone, rate),
        ),
        Line::ratio(
            "CPU seconds of all per GiB",
            if crowd.from_ready { Mark::None } else { Mark::AtMost(2.0) },
            per(together, &all, cpu),
            per(bench.size, &alone, cpu),
        ),
        Line::ours(
            "the slowest, as a multiple of the median",
            if crowd.from_ready { Mark::None } else { Mark::AtMost(1.5) },
            all.iter().map(|sample| sample.seconds / sample.median).collect(),
            Vec::new(),
        ),
    ])
}
