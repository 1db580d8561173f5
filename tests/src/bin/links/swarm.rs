//! Getters that get from getters.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use cjp2p_tests::content;
use cjp2p_tests::lab::programs::{self, Job, Outcome};
use cjp2p_tests::lab::{Error, Get, Lab, Serve};
use cjp2p_tests::table::{Figure, Mark};

use crate::bench::{Bench, LIMIT, OUTPUT, Stage, bdp, link};

/// How many getters know each other.
const GETTERS: usize = 20;

/// What they fetch.
const LENGTH: usize = 8 << 20;

/// Where a getter listens that has a server beside it.
const GETTER_PORT: u16 = 24255;

/// A on host 0 fetches from the origin on host 1 into a folder that it also serves; B on host 2 knows only A.
pub(crate) fn chain(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let each = link(100, 40, bdp(100, 40));
    let stage = Stage::with_silent(bench, &[each, each], 32, 1)?;
    // Even if A names the origin to B: B cannot reach it.
    stage.lab.wires().separate(1, 2);
    let [a, b] = ["a", "b"].map(|name| stage.folder.path().join(name));
    fs::create_dir_all(a.join("shared"))?;
    fs::create_dir(&b)?;
    let serving = stage.lab.address(0);
    let getting = SocketAddr::new(serving.ip(), GETTER_PORT);
    let _serve = Serve::start(&stage.lab, 0, &bench.programs, &a.join("shared"), &a.join("serve"))?;
    let start = |host, peers: &[SocketAddr], folder: &Path, output, more: &[String]| {
        let (peers, more) = (peers.to_vec(), more.to_vec());
        let job = Job { host, id: stage.id(), peers, folder, output: Some(output), more };
        Get::start(&stage.lab, &bench.programs, &job)
    };
    let listen = ["--listen".to_owned(), getting.to_string()];
    let first = start(0, &[stage.lab.address(1)], &a, "shared/content", &listen)?;
    let second = start(2, &[getting, serving], &b, OUTPUT, &[])?;
    let outcomes = finish_all(vec![first, second])?;
    programs::compare(&stage.content(), &a.join("shared/content"))?;
    programs::compare(&stage.content(), &b.join(OUTPUT))?;
    Ok(vec![
        Figure::new("time of B / time of A", Mark::AtMost(1.25), outcomes[1].seconds / outcomes[0].seconds),
        Figure::new("time of A, s", Mark::None, outcomes[0].seconds),
    ])
}

/// Getters that know each other, and an origin with the uplink of one; compared with one that is alone.
pub(crate) fn twenty(bench: &Bench) -> Result<Vec<Figure>, Error> {
    let (alone, one_copy) = getters(bench, 1)?;
    let (last, copies) = getters(bench, GETTERS)?;
    Ok(vec![
        Figure::new("copies that the origin sent", Mark::AtMost(3.0), copies as f64 / one_copy as f64),
        Figure::new("time of the last / time of one alone", Mark::AtMost(4.0), last / alone),
        Figure::new("time of one alone, s", Mark::None, alone),
    ])
}

/// So many getters at once: how long the last took, and how many bytes the origin sent.
fn getters(bench: &Bench, count: usize) -> Result<(f64, u64), Error> {
    let seed = bench.count();
    let folder = bench.folder()?;
    let shared = folder.path().join("shared");
    fs::create_dir(&shared)?;
    fs::write(shared.join("content"), content::bytes(seed, LENGTH))?;
    let lab = Lab::start(&vec![link(10, 20, bdp(10, 40)); count + 1], seed)?;
    let serve = Serve::start(&lab, count, &bench.programs, &shared, &folder.path().join("serve"))?;
    let mut gets = Vec::new();
    for host in 0..count {
        let own = folder.path().join(host.to_string());
        fs::create_dir(&own)?;
        let job = Job {
            host,
            id: &serve.id,
            peers: (0..=count).filter(|peer| *peer != host).map(|peer| lab.address(peer)).collect(),
            folder: &own,
            output: Some(OUTPUT),
            more: vec!["--listen".to_owned(), lab.address(host).to_string()],
        };
        gets.push(Get::start(&lab, &bench.programs, &job)?);
    }
    let outcomes = finish_all(gets)?;
    for host in 0..count {
        let output = folder.path().join(host.to_string()).join(OUTPUT);
        programs::compare(&shared.join("content"), &output)?;
    }
    let last = outcomes.iter().map(|outcome| outcome.seconds).fold(0.0, f64::max);
    Ok((last, lab.traffic(count).udp_out))
}

/// Waits for all of them at once.
fn finish_all(gets: Vec<Get>) -> Result<Vec<Outcome>, Error> {
    let finish = |mut get: Get| std::thread::spawn(move || get.finish(LIMIT));
    let waiting: Vec<_> = gets.into_iter().map(finish).collect();
    let outcome = |thread: std::thread::JoinHandle<_>| thread.join().map_err(|_| "a thread panicked")?;
    // All of them end before the first that failed is told.
    let outcomes: Vec<_> = waiting.into_iter().map(outcome).collect();
    outcomes.into_iter().collect()
}
