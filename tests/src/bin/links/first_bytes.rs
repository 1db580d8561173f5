//! A large file of which little is wanted.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use cjp2p_tests::lab::programs::Job;
use cjp2p_tests::lab::{Error, Get, Lab, Serve};
use cjp2p_tests::table::{Figure, Mark};

use crate::bench::{Bench, LIMIT, OUTPUT, bdp, fast, link};

/// The large file is mostly a hole: it takes no room, but is hashed like any other.
const LENGTH: u64 = 8 << 30;

/// How much of it is read from the pipe.
const HEAD: usize = 65_536;

/// The round trip, in milliseconds.
const RTT: u64 = 100;

/// Serves the large file, hashed once for all runs.
fn serve(bench: &Bench) -> Result<(Lab, Serve), Error> {
    let shared = bench.kept_folder("large")?;
    let file = shared.join("zeros");
    if !file.exists() {
        eprintln!("links: 8 GiB are hashed first");
        File::create(&file)?.set_len(LENGTH)?;
    }
    let state = bench.kept_folder("large-state")?;
    let lab = Lab::start(&[fast(), link(100, RTT, bdp(100, RTT))], bench.count())?;
    let serve = Serve::start(&lab, 1, &bench.programs, &shared, &state)?;
    Ok((lab, serve))
}

fn get(bench: &Bench, lab: &Lab, serve: &Serve, folder: &Path, range: Option<&str>) -> Result<Get, Error> {
    let more = range.map_or(Vec::new(), |range| vec!["--range".to_owned(), range.to_owned()]);
    let output = range.map(|_| OUTPUT);
    let job = Job { host: 0, id: &serve.id, peers: vec![lab.address(1)], folder, output, more };
    Get::start(lab, &bench.programs, &job)
}

pub(crate) fn head(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let (lab, serve) = serve(bench)?;
    let folder = bench.folder()?;
    let mut get = get(bench, &lab, &serve, folder.path(), None)?;
    let mut head = vec![1; HEAD];
    let stdout = get.stdout().ok_or("no pipe from cjp2p-get")?;
    { stdout }.read_exact(&mut head).map_err(|error| format!("{error}: {}", get.said()))?;
    let seconds = get.seconds();
    if head.iter().any(|byte| *byte != 0) {
        return Err("the bytes are wrong".into());
    }
    Ok(vec![Figure::new("round trips", Mark::AtMost(3.0), seconds * 1000.0 / RTT as f64)])
}

pub(crate) fn range(bench: &Bench) -> Result<Vec<Figure>, Error> {
    if !bench.programs.get_knows("--range")? {
        return Err("not supported: cjp2p-get has no --range".into());
    }
    let (lab, serve) = serve(bench)?;
    let folder = bench.folder()?;
    let middle = LENGTH / 2;
    let range = format!("{}-{}", middle, middle + (1 << 20) - 1);
    let mut get = get(bench, &lab, &serve, folder.path(), Some(&range))?;
    let outcome = get.finish(LIMIT)?;
    if fs::read(folder.path().join(OUTPUT))? != vec![0; 1 << 20] {
        return Err("the bytes are wrong".into());
    }
    Ok(vec![
        Figure::new("received, KiB", Mark::AtMost(1.15 * 1024.0), outcome.received as f64 / 1024.0),
        Figure::new("round trips", Mark::None, outcome.seconds * 1000.0 / RTT as f64),
    ])
}
