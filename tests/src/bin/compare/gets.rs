//! Fetching one content, ours beside what others do.

use cjp2p_tests::lab::Error;
use cjp2p_tests::table::Mark;

use crate::bench::{Bench, processor_time, rates};
use crate::net::Net;
use crate::others::{Settings, Torrent, Web};
use crate::ours::{Output, Serve};
use crate::report::Line;

const RATE: &str = "MB/s";
const CPU: &str = "CPU seconds of both ends per GiB";

pub(crate) fn veth(bench: &Bench) -> Result<Vec<Line>, Error> {
    beside_curl(bench, bench.veth()?, Mark::AtLeast(1.1), Mark::AtMost(1.2))
}

pub(crate) fn loopback(bench: &Bench) -> Result<Vec<Line>, Error> {
    beside_curl(bench, &bench.loopback, Mark::AtLeast(1.2), Mark::None)
}

fn beside_curl(bench: &Bench, net: &Net, rate: Mark, cpu: Mark) -> Result<Vec<Line>, Error> {
    bench.others.find("curl")?;
    let web = Web::start(bench, net)?;
    let serve = Serve::of_shared(bench, net)?;
    let [ours, other] = bench.in_turn([&mut || serve.get(), &mut || web.curl()])?;
    Ok(vec![
        rates(RATE, rate, bench.size, &ours, &other),
        processor_time(CPU, cpu, bench.size, &ours, &other),
    ])
}

pub(crate) fn aria2(bench: &Bench) -> Result<Vec<Line>, Error> {
    bench.others.find("aria2c")?;
    let net = bench.veth()?;
    let web = Web::start(bench, net)?;
    let serve = Serve::of_shared(bench, net)?;
    let [ours, other] = bench.in_turn([&mut || serve.get(), &mut || web.aria2()])?;
    Ok(vec![
        rates(RATE, Mark::None, bench.size, &ours, &other),
        processor_time(CPU, Mark::None, bench.size, &ours, &other),
    ])
}

pub(crate) fn torrent(bench: &Bench) -> Result<Vec<Line>, Error> {
    beside_torrent(bench, Settings::Defaults, Mark::AtLeast(3.0))
}

pub(crate) fn tuned_torrent(bench: &Bench) -> Result<Vec<Line>, Error> {
    beside_torrent(bench, Settings::Tuned, Mark::None)
}

fn beside_torrent(bench: &Bench, settings: Settings, mark: Mark) -> Result<Vec<Line>, Error> {
    let net = bench.veth()?;
    let torrent = Torrent::start(bench, net, settings)?;
    let serve = Serve::of_shared(bench, net)?;
    let [ours, other] = bench.in_turn([&mut || serve.get(), &mut || torrent.fetch()])?;
    Ok(vec![
        rates(RATE, mark, bench.size, &ours, &other),
        processor_time(CPU, Mark::None, bench.size, &ours, &other),
    ])
}

pub(crate) fn pipe(bench: &Bench) -> Result<Vec<Line>, Error> {
    let serve = Serve::of_shared(bench, &bench.loopback)?;
    let [file, null, pipe] =
        bench.in_turn([&mut || serve.get(), &mut || serve.print(Output::Null), &mut || {
            serve.print(Output::Pipe)
        }])?;
    Ok(vec![
        rates("MB/s to `/dev/null`", Mark::AtLeast(1.0), bench.size, &null, &file),
        rates("MB/s to a pipe that is read", Mark::None, bench.size, &pipe, &file),
    ])
}

pub(crate) fn sha256(bench: &Bench) -> Result<Vec<Line>, Error> {
    let serve = Serve::of_shared(bench, bench.veth()?)?;
    let [sha256, blake3] = bench.in_turn([&mut || serve.get_by_sha256(), &mut || serve.get()])?;
    Ok(vec![
        rates(RATE, Mark::AtLeast(0.7), bench.size, &sha256, &blake3),
        processor_time(CPU, Mark::None, bench.size, &sha256, &blake3),
    ])
}
