//! What a server has to do with many: many files, and many getters.

use std::fs;
use std::path::Path;

use cjp2p_tests::lab::{Error, programs};
use cjp2p_tests::table::Mark;

use crate::bench::{Bench, MIB};
use crate::net::Net;
use crate::ours::Serve;
use crate::process::Sample;
use crate::report::Line;

/// How many files lie in one folder.
const FILES_IN_A_FOLDER: usize = 1000;

/// How many getters there are at once, and the length of what each fetches.
pub(crate) const GETTERS: usize = 100;
pub(crate) const GETTERS_LENGTH: u64 = 16 * MIB;

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
    many(bench, bench.veth()?)
}

pub(crate) fn hundred_loopback(bench: &Bench) -> Result<Vec<Line>, Error> {
    many(bench, &bench.loopback)
}

/// Getters at once, each of another file, beside one that fetches one long file.
fn many(bench: &Bench, net: &Net) -> Result<Vec<Line>, Error> {
    let one = Serve::of_shared(bench, net)?;
    let folder = bench.folder()?;
    let [shared, state] = ["shared", "state"].map(|name| folder.path().join(name));
    fs::create_dir(&shared)?;
    for n in 0..GETTERS {
        bench.write_content(&shared.join(n.to_string()), GETTERS_LENGTH)?;
    }
    let serve = Serve::start(bench, net, &shared, &state)?;
    let mut all = || {
        let own = bench.folder()?;
        let mut commands = Vec::new();
        for (path, ids) in &serve.ids {
            let name = path.file_name().ok_or("a file without a name")?;
            let folder = own.path().join(name);
            fs::create_dir(&folder)?;
            let mut command = serve.getter(&ids[0], &folder)?;
            command.arg("-o").arg(folder.join("output"));
            commands.push(command);
        }
        let sample = serve.measure(commands, own.path())?;
        for path in serve.ids.keys() {
            let name = path.file_name().ok_or("a file without a name")?;
            programs::compare(path, &own.path().join(name).join("output"))?;
        }
        Ok(sample)
    };
    let [all, alone] = bench.in_turn([&mut all, &mut || one.get()])?;
    let together = GETTERS as u64 * GETTERS_LENGTH;
    let per = |length: u64, samples: &[Sample], figure: fn(f64, Sample) -> f64| {
        samples.iter().map(|sample| figure(length as f64, *sample)).collect()
    };
    let rate = |length, sample: Sample| length / sample.seconds / 1e6;
    let cpu = |length, sample: Sample| sample.cpu / (length / (1024 * MIB) as f64);
    Ok(vec![
        Line::ratio(
            "MB/s of all together; of one alone",
            Mark::AtLeast(0.7),
            per(together, &all, rate),
            per(bench.size, &alone, rate),
        ),
        Line::ours(
            "CPU seconds of all per GiB",
            Mark::None,
            per(together, &all, cpu),
            per(bench.size, &alone, cpu),
        ),
    ])
}
