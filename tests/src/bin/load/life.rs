//! A server's life with getters that come and go.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use cjp2p_tests::lab::Error;
use cjp2p_tests::real::server::{descriptors, resident_memory};
use cjp2p_tests::{row, table};
use clap::Args;

use crate::bench::{Bench, kill, wait};

/// How often memory, descriptors and files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Getters at a time.
const GETTERS: usize = 4;
/// One of so many getters is killed before it is done.
const KILLED: u32 = 3;
/// No getter may take longer.
const LIMIT: Duration = Duration::from_secs(60);
/// How often getters are looked at.
const PAUSE: Duration = Duration::from_millis(2);
/// A pause cannot take so long. Where it does we were stopped, as the server may have been: getters give up by then, and that
/// tells nothing.
const STANDSTILL: Duration = Duration::from_secs(5);
/// So much of the time, and at least this, until memory has to be what it will be.
const WARM_UP_SHARE: u32 = 5;
const MOST_WARM_UP: Duration = Duration::from_secs(300);
/// The mark.
const MOST_GROWTH: i64 = 1 << 20;

/// See the help.
#[derive(Args)]
pub(crate) struct Life {
    /// For how many seconds
    #[arg(long, default_value_t = 1800)]
    seconds: u64,
    /// Where the choice of what is fetched and killed follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A running getter.
struct Getter {
    child: Child,
    /// For how long it has been running, without standstills.
    age: Duration,
    /// It is killed at this age.
    dies: Option<Duration>,
    /// There was a standstill meanwhile.
    stood_still: bool,
}

/// What became of getters.
#[derive(Default)]
struct Tally {
    done: u64,
    killed: u64,
    failed: u64,
    /// Failed after a standstill.
    cut_off: u64,
    /// In all standstills together.
    stood_still: Duration,
}

impl Tally {
    fn fail(&mut self, second: u64, getter: &Getter, how: &str) {
        let of = if getter.stood_still { &mut self.cut_off } else { &mut self.failed };
        *of += 1;
        let after = if getter.stood_still { ", after a standstill" } else { "" };
        eprintln!("second {second}: a fetch {how}{after}");
    }
}

/// What the server holds at one time.
#[derive(Clone, Copy, Debug)]
struct Look {
    second: u64,
    memory: u64,
    descriptors: usize,
    files: usize,
    file_bytes: u64,
}

fn look(bench: &Bench, begun: Instant) -> Result<Look, Error> {
    let (files, file_bytes) = sizes(&bench.state())?;
    let pid = bench.server.pid();
    let second = begun.elapsed().as_secs();
    Ok(Look { second, memory: resident_memory(pid), descriptors: descriptors(pid), files, file_bytes })
}

/// How many files there are below a folder, and their bytes.
fn sizes(folder: &Path) -> Result<(usize, u64), Error> {
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        let (files, bytes) = if data.is_dir() { sizes(&entry.path())? } else { (1, data.len()) };
        sum = (sum.0 + files, sum.1 + bytes);
    }
    Ok(sum)
}

impl Life {
    pub(crate) fn run(&self) -> Result<bool, Error> {
        let bench = Bench::start(64)?;
        let mut random = fastrand::Rng::with_seed(self.seed);
        let (begun, length) = (Instant::now(), Duration::from_secs(self.seconds));
        // Every file was open once, and so was every tree.
        for id in bench.small.iter().chain(&bench.large) {
            bench.getter(id)?.wait()?;
        }
        let mut looks = vec![look(&bench, begun)?];
        let mut looked = begun;
        let mut running: Vec<Getter> = Vec::new();
        let mut tally = Tally::default();
        let mut turned = Instant::now();
        while begun.elapsed() < length {
            while running.len() < GETTERS {
                let id = match random.u8(0..4) {
                    0 => &bench.small[random.usize(0..bench.small.len())],
                    n => &bench.large[usize::from(n == 1)],
                };
                let dies = random.u32(0..KILLED) == 0;
                let dies = dies.then(|| Duration::from_millis(random.u64(1..300)));
                let child = bench.getter(id)?;
                running.push(Getter { child, age: Duration::ZERO, dies, stood_still: false });
            }
            let turn = std::mem::replace(&mut turned, Instant::now()).elapsed();
            if turn >= STANDSTILL {
                tally.stood_still += turn;
                running.iter_mut().for_each(|getter| getter.stood_still = true);
            }
            let second = begun.elapsed().as_secs();
            let mut left = Vec::new();
            for mut getter in running {
                getter.age += turn.min(STANDSTILL);
                if let Some(status) = getter.child.try_wait()? {
                    tally.done += 1;
                    if !status.success() {
                        tally.fail(second, &getter, &format!("ended with {status}"));
                    }
                } else if getter.dies.is_some_and(|age| getter.age >= age) {
                    kill(getter.child)?;
                    tally.killed += 1;
                } else if getter.age > LIMIT {
                    tally.fail(second, &getter, &format!("took over {LIMIT:?}"));
                    kill(getter.child)?;
                } else {
                    left.push(getter);
                }
            }
            running = left;
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                looks.push(look(&bench, begun)?);
                if bench.server.pid() == 0 || looks.last().is_some_and(|look| look.memory == 0) {
                    return Err("the server is gone".into());
                }
            }
            std::thread::sleep(PAUSE);
        }
        for getter in running {
            tally.failed += u64::from(!wait(getter.child, LIMIT)?);
            tally.done += 1;
        }
        // What getters held is closed a little later than they end.
        std::thread::sleep(Duration::from_secs(3));
        looks.push(look(&bench, begun)?);
        let warm = (length / WARM_UP_SHARE).min(MOST_WARM_UP).as_secs();
        Ok(report(&looks, warm, self.seconds, &tally))
    }
}

fn report(looks: &[Look], warm: u64, seconds: u64, tally: &Tally) -> bool {
    let Tally { done, killed, failed, cut_off, stood_still } = tally;
    let mib = |bytes: f64| bytes / (1 << 20) as f64;
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return false };
    let after = || looks.iter().filter(|look| look.second >= warm);
    let Some(base) = after().next() else { return false };
    let most = after().map(|look| look.memory).max().unwrap_or(0);
    let grown = most as i64 - base.memory as i64;
    let growth = last.descriptors.saturating_sub(first.descriptors);
    let files = last.files.saturating_sub(base.files);
    let bytes = last.file_bytes.saturating_sub(base.file_bytes);
    println!("{}", table::head(&["what", "promised", "measured"]));
    println!("{}", row!["seconds under load", "", seconds]);
    println!(
        "{}",
        row![
            "fetches that ended; getters killed; fetches that failed",
            "0 failed",
            format!("{done}; {killed}; {failed}")
        ]
    );
    if *cut_off > 0 || *stood_still > Duration::ZERO {
        let seconds = stood_still.as_secs();
        println!(
            "{}",
            row![
                "seconds for which all was stopped from outside; fetches that failed by that",
                "",
                format!("{seconds}; {cut_off}")
            ]
        );
    }
    println!("{}", row!["memory at the start, MiB", "", format!("{:.1}", mib(first.memory as f64))]);
    println!(
        "{}",
        row![format!("memory after {warm} s, MiB"), "", format!("{:.1}", mib(base.memory as f64))]
    );
    println!("{}", row!["the most it grew after that, MiB", "≤ 1", format!("{:.2}", mib(grown as f64))]);
    println!(
        "{}",
        row![
            "descriptors at the start, and more at the end",
            "0 more",
            format!("{}, {growth}", first.descriptors)
        ]
    );
    println!(
        "{}",
        row![
            format!("state files after {warm} s, and more at the end"),
            "0 more",
            format!("{}, {files}", base.files)
        ]
    );
    println!(
        "{}",
        row!["bytes in them, and more at the end", "0 more", format!("{}, {bytes}", base.file_bytes)]
    );
    grown <= MOST_GROWTH && growth == 0 && files == 0 && bytes == 0 && *failed == 0
}
