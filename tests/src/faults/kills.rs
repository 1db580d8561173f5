//! Programs are killed at random instants, over and over, and what they left is looked at each time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::tally::Tally;
use super::{Bench, Ended, jobs, mirrors, names, wait};
use crate::content;
use crate::lab::Error;
use crate::real::tool;

/// A fetch may lose so much of what had arrived: what the manual promises.
const MAY_BE_LOST: u64 = 2 << 20;
/// Content is compared in pieces of this length: nothing shorter is verified.
const LEAF: usize = 4096;
/// Files that a server hashes.
const FILES: usize = 60;

/// A writer to be killed.
pub struct Victim {
    /// What the table calls it.
    pub name: &'static str,
    /// What is lost at the most, in words, with its unit.
    pub promise: &'static str,
    run: fn(&Bench, usize, &mut Rng) -> Result<Tally, Error>,
}

impl Victim {
    /// Kills it so many times, at instants that depend on the seed.
    ///
    /// # Errors
    ///
    /// Where it does not even run.
    pub fn kill(&self, bench: &Bench, kills: usize, seed: u64) -> Result<Tally, Error> {
        (self.run)(bench, kills, &mut Rng::with_seed(seed))
    }
}

/// All writers.
pub const VICTIMS: &[Victim] = &[
    Victim {
        name: "get -o, BLAKE3",
        promise: "2 MiB of what arrived, in KiB",
        run: |bench, kills, random| kill_gets(bench, kills, random, 0, &[]),
    },
    Victim {
        name: "get -o, SHA-256",
        promise: "2 MiB of what arrived, in KiB",
        run: |bench, kills, random| kill_gets(bench, kills, random, 1, &[]),
    },
    Victim {
        name: "get -o --force",
        promise: "2 MiB of what arrived, in KiB",
        run: |bench, kills, random| kill_gets(bench, kills, random, 0, &["--force"]),
    },
    Victim {
        name: "peers add, remove: four at once",
        promise: "no change that was reported done",
        run: kill_peers,
    },
    Victim {
        name: "peers add, remove: and a damaged table",
        promise: "no change that was reported done, nothing of the damaged table",
        run: kill_peers_beside_damage,
    },
    Victim { name: "get -o --delete, a folder", promise: "nothing that was right", run: mirrors::kill },
    Victim { name: "serve, hashing", promise: "1,024 ids not yet written down", run: kill_serves },
];

/// Lets a program live for a random time up to `longest`, then kills it. Gives how it ended if it did before.
fn live(command: &mut Command, longest: Duration, random: &mut Rng) -> Result<Option<bool>, Error> {
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let status = wait(&mut child, longest.mul_f64(random.f64()))?;
    kill(&mut child)?;
    Ok(status.map(|status| status.success()))
}

fn kill(child: &mut Child) -> Result<(), Error> {
    // It may just have ended.
    let _ = child.kill();
    child.wait()?;
    Ok(())
}

/// Fetches to a file, goes on after each kill, and begins anew when it is there.
fn kill_gets(
    bench: &Bench,
    kills: usize,
    random: &mut Rng,
    id: usize,
    more: &[&str],
) -> Result<Tally, Error> {
    const OLD: &[u8] = b"what was there before";
    let mut tally = Tally::default();
    let folder = bench.fresh()?;
    let folder = folder.path();
    let file = folder.join("file");
    let get = || {
        let mut command = tool("cjp2p-get", &folder.join("state"));
        command.args(["--quiet", "--peer", &bench.peer, &bench.ids[id], "-o"]).arg(&file).args(more);
        command
    };
    let force = more.contains(&"--force");
    let begin = || if force { fs::write(&file, OLD) } else { Ok(()) };
    begin()?;
    // So long takes one that is left alone.
    let begun = Instant::now();
    bench.run(&mut get())?.is_proper("cjp2p-get", &[0])?;
    let longest = begun.elapsed().mul_f64(0.7);
    fs::remove_file(&file)?;
    begin()?;
    while tally.kills < kills {
        let ended = live(&mut get(), longest, random)?;
        let there = fs::read(&file).ok();
        let is_complete = there.as_deref() == Some(&bench.content[..]);
        if there.is_some_and(|bytes| bytes != bench.content && !(force && bytes == OLD)) {
            tally.wrong.push("something wrong has the file's name".into());
        }
        match ended {
            Some(false) => tally.wrong.push("it failed".into()),
            Some(true) if !is_complete => tally.wrong.push("done, and the file is wrong".into()),
            Some(true) => {}
            None => tally.kills += 1,
        }
        if is_complete && !folder.join("file.cjp2p-part").exists() {
            // Killed after the rename: what is left to do is to tidy up, and to say that it is there.
            let mut again = tool("cjp2p-get", &folder.join("state"));
            again.args(["--quiet", "--peer", &bench.peer, &bench.ids[id], "-o"]).arg(&file);
            bench.run(&mut again)?.is_proper("cjp2p-get", &[0])?;
            expect_only_the_file(folder, &mut tally);
            fs::remove_file(&file)?;
            begin()?;
            tally.completed += 1;
        } else if ended.is_none() {
            let lost = arrived(bench, folder).saturating_sub(recorded(folder));
            tally.most_lost = tally.most_lost.max(lost >> 10);
            if lost > MAY_BE_LOST {
                tally.wrong.push(format!("{lost} bytes arrived and are not in the record"));
            }
        }
    }
    let arrived = arrived(bench, folder);
    let mut last = get();
    last.arg("--json");
    let ended = bench.run(&mut last)?;
    ended.is_proper("cjp2p-get", &[0])?;
    let line: Value = serde_json::from_slice(&ended.stdout)?;
    let resumed = line["resumed"].as_u64().unwrap_or(0);
    if line["already"] == false && resumed + MAY_BE_LOST < arrived {
        tally.wrong.push(format!("{arrived} bytes had arrived, {resumed} were used"));
    }
    if fs::read(&file)? != bench.content {
        tally.wrong.push("the file is wrong at last".into());
    }
    expect_only_the_file(folder, &mut tally);
    Ok(tally)
}

fn expect_only_the_file(folder: &Path, tally: &mut Tally) {
    let there = names(folder);
    if there != ["file", "state"] {
        tally.wrong.push(format!("there is {there:?}"));
    }
}

/// Bytes of the partial that are right.
fn arrived(bench: &Bench, folder: &Path) -> u64 {
    let found = fs::read(folder.join("file.cjp2p-part")).unwrap_or_default();
    let pairs = found.chunks(LEAF).zip(bench.content.chunks(LEAF));
    pairs.filter(|(found, content)| found == content).map(|(found, _)| found.len() as u64).sum()
}

/// Bytes of the partial that the record speaks of.
fn recorded(folder: &Path) -> u64 {
    let record = fs::read(folder.join("file.cjp2p-resume")).unwrap_or_default();
    let lines = record.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let done = lines.filter_map(|line: Value| Some((line["done"][0].as_u64()?, line["done"][1].as_u64()?)));
    let ranges: cjp2p_wire::range_set::RangeSet = done.map(|(start, end)| start..end).collect();
    ranges.total()
}

fn kill_peers(bench: &Bench, kills: usize, random: &mut Rng) -> Result<Tally, Error> {
    kill_peer_edits(bench, kills, random, false)
}

fn kill_peers_beside_damage(bench: &Bench, kills: usize, random: &mut Rng) -> Result<Tally, Error> {
    kill_peer_edits(bench, kills, random, true)
}

/// Four programs change the table at once, each another peer, and all are killed at some instant.
fn kill_peer_edits(bench: &Bench, kills: usize, random: &mut Rng, damage: bool) -> Result<Tally, Error> {
    const DAMAGE: &str = "{\"address\":\"nowhere\"}\n";
    let mut tally = Tally::default();
    let folder = bench.fresh()?;
    let folder = folder.path();
    let mut expected = BTreeSet::from([1]);
    bench.run(&mut jobs::peers(folder, &["add", "127.0.0.1:1"]))?.is_proper("cjp2p-peers", &[0])?;
    let begun = Instant::now();
    bench.run(&mut jobs::peers(folder, &["add", "127.0.0.1:1"]))?.is_proper("cjp2p-peers", &[0])?;
    let longest = begun.elapsed();
    let mut damages = 0;
    while tally.kills < kills {
        if damage && random.u8(..4) == 0 {
            let path = folder.join("state/peers.json");
            let table: Vec<Value> = serde_json::from_slice(&fs::read(&path)?)?;
            let lines: String = table.iter().map(|peer| format!("{peer}\n")).collect();
            fs::write(&path, format!("{lines}{DAMAGE}"))?;
            damages += 1;
        }
        let mut edits: Vec<(u16, bool, Child)> = Vec::new();
        for _ in 0..4 {
            let port = random.u16(2..400);
            if edits.iter().any(|(other, ..)| *other == port) {
                continue;
            }
            let adds = !expected.contains(&port);
            let command = if adds { "add" } else { "remove" };
            let mut command = jobs::peers(folder, &["-q", command, &format!("127.0.0.1:{port}")]);
            edits.push((port, adds, command.stdout(Stdio::null()).spawn()?));
        }
        std::thread::sleep(longest.mul_f64(random.f64()));
        let mut changes = Vec::new();
        for (port, adds, mut child) in edits {
            let status = child.try_wait()?;
            kill(&mut child)?;
            tally.kills += usize::from(status.is_none());
            tally.completed += usize::from(status.is_some());
            if status.is_some_and(|status| !status.success()) {
                tally.wrong.push(format!("port {port}: it failed"));
            }
            changes.push((port, adds, status.is_some()));
        }
        let shown = bench.run(&mut jobs::peers(folder, &["-q"]))?;
        shown.is_proper("cjp2p-peers", &[0])?;
        let table: Vec<Value> = serde_json::from_slice(&shown.stdout)?;
        let port = |peer: &Value| peer["address"].as_str()?.rsplit(':').next()?.parse().ok();
        let found: BTreeSet<u16> = table.iter().filter_map(port).collect();
        for (port, adds, done) in changes {
            if done && found.contains(&port) != adds {
                tally.most_lost += 1;
                tally.wrong.push(format!("port {port}: it was done, and is not"));
            }
            // Else it may be either.
            if found.contains(&port) {
                expected.insert(port)
            } else {
                expected.remove(&port)
            };
        }
        if found != expected {
            tally.wrong.push("the table has changed otherwise".into());
            expected = found;
        }
    }
    let state = folder.join("state");
    let there = names(&state);
    let kept = there.iter().filter(|name| name.contains("damaged")).count();
    let strange = there.iter().filter(|name| {
        !name.starts_with("peers.json.damaged-")
            && !["peers.json", "peers.json.lock", ".peers.json.tmp"].contains(&&***name)
    });
    let strange: Vec<_> = strange.collect();
    if kept != damages || !strange.is_empty() {
        tally.wrong.push(format!("{damages} times damaged, {kept} set aside; {strange:?}"));
    }
    Ok(tally)
}

/// A server is killed while it hashes, and started again over the same files.
fn kill_serves(bench: &Bench, kills: usize, random: &mut Rng) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    while tally.kills < kills {
        let folder = bench.fresh()?;
        let folder = folder.path();
        fs::create_dir(folder.join("share"))?;
        // Every third has a tree that is kept.
        let length = |nth: usize| if nth.is_multiple_of(3) { 530_000 } else { 2_000 + nth };
        for nth in 0..FILES {
            fs::write(folder.join("share").join(nth.to_string()), content::bytes(nth as u64, length(nth)))?;
        }
        let serve = || {
            let mut command = tool("cjp2p-serve", &folder.join("state"));
            command.args(["--json", "--quiet", "--listen", "127.0.0.1:0"]).arg(folder.join("share"));
            command
        };
        let mut known = 0;
        // A few kills for each share, the last of them when all is hashed.
        for _ in 0..10 {
            let out = folder.join("out");
            let mut child = serve().stdout(File::create(&out)?).spawn()?;
            let life = Duration::from_millis(random.u64(..220));
            if wait(&mut child, life)?.is_some() {
                tally.wrong.push("it ended by itself".into());
            }
            kill(&mut child)?;
            tally.kills += 1;
            let printed = read_shared(&fs::read(&out)?, &length, &mut tally);
            let lines = remembered(&folder.join("state/hashes-1"));
            if lines < known {
                tally.wrong.push(format!("{known} ids were known, now {lines}"));
            }
            known = lines;
            tally.most_lost = tally.most_lost.max(printed.saturating_sub(lines) as u64);
        }
        let mut last = serve();
        let ended = bench.run(last.args(["--for", "1s"]))?;
        ended.is_proper("cjp2p-serve", &[0])?;
        finish_serve(&ended, folder, known, &length, &mut tally);
        tally.completed += 1;
    }
    Ok(tally)
}

/// Counts the files that a server says it shares; their ids must be right.
fn read_shared(printed: &[u8], length: &dyn Fn(usize) -> usize, tally: &mut Tally) -> usize {
    let mut count = 0;
    for line in printed.split(|byte| *byte == b'\n') {
        // The last may have been cut.
        let Ok(event) = serde_json::from_slice::<Value>(line) else { continue };
        if event["event"] != "shared" {
            continue;
        }
        let name = event["path"].as_str().and_then(|path| path.rsplit('/').next()?.parse().ok());
        let bytes = name.map(|nth| content::bytes(nth as u64, length(nth))).unwrap_or_default();
        let ids = [content::blake3_id(&bytes), content::sha256_id(&bytes)].map(|id| id.to_string());
        if event["ids"][0] != ids[0] || event["ids"][1] != ids[1] {
            tally.wrong.push(format!("wrong ids: {event}"));
        }
        count += 1;
    }
    count
}

/// How many files a store of hashes has a whole line of.
fn remembered(store: &Path) -> usize {
    let text = fs::read_to_string(store).unwrap_or_default();
    let inode = |line: &str| line.split(' ').nth(2).map(str::to_owned);
    let whole = text.lines().filter(|line| line.split(' ').count() == 9);
    whole.filter_map(inode).collect::<BTreeSet<_>>().len()
}

fn finish_serve(
    ended: &Ended,
    folder: &Path,
    known: usize,
    length: &dyn Fn(usize) -> usize,
    tally: &mut Tally,
) {
    let count = read_shared(&ended.stdout, length, tally);
    let text = String::from_utf8_lossy(&ended.stdout);
    let ready = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let hashed = ready.filter(|event| event["event"] == "ready").find_map(|event| event["hashed"].as_u64());
    if count != FILES || hashed != Some((FILES - known) as u64) {
        tally.wrong.push(format!("{count} files shared, {known} ids were known, {hashed:?} hashed"));
    }
    let state = folder.join("state");
    let trees = names(&state.join("trees-2"));
    if trees.len() != FILES.div_ceil(3) || trees.iter().any(|name| name.len() != 64) {
        tally.wrong.push(format!("the trees kept are {trees:?}"));
    }
    let strange: Vec<String> = names(&state)
        .into_iter()
        .filter(|name| !["hashes-1", "hashes.lock", "trees-2"].contains(&&**name))
        .filter(|name| !name.starts_with("peers.json") && !name.starts_with("serve-"))
        .collect();
    if !strange.is_empty() {
        tally.wrong.push(format!("in the state folder there is {strange:?}"));
    }
}
