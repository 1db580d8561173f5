//! A mirror of a folder that is killed at any instant: what is there at that instant, and what the next runs make of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;

use super::tally::Tally;
use super::trees::{STAGING, Thing, Things, found, share};
use super::{Bench, wait};
use crate::content;
use crate::lab::Error;
use crate::lab::scratch::in_memory;
use crate::real::server::Server;
use crate::real::tool;

/// Files in each version, roughly.
const FILES: u64 = 160;
/// States of the folder that is mirrored.
pub const VERSIONS: u64 = 4;
/// From the first name that is given, a kill comes within this time: all names are given within milliseconds.
const WHILE_PLACING: Duration = Duration::from_millis(4);

/// One state of the folder. Between any two, files are changed, renamed, added and removed, and some become folders or links.
fn version(nth: u64) -> Things {
    let mut things = Things::new();
    let mut put = |path: String, thing: Thing| {
        for folder in Path::new(&path).ancestors().skip(1).filter(|folder| *folder != Path::new("")) {
            things.insert(folder.into(), Thing::Folder);
        }
        things.insert(path.into(), thing);
    };
    for file in 0..FILES {
        let length = if file.is_multiple_of(50) { 1_500_000 } else { 20 * file as usize };
        let same = Thing::File(content::bytes(file, length), false);
        let other = Thing::File(content::bytes(1000 * (nth + 1) + file, length), nth.is_multiple_of(2));
        let folder = file % 9;
        let path = format!("{folder}/{file}");
        match file % 10 {
            0..=3 => put(path, same),
            4 | 5 => put(path, other),
            6 if (file / 10 + nth).is_multiple_of(VERSIONS) => {}
            6 => put(path, same),
            7 => put(format!("{folder}/renamed-{nth}/{file}"), same),
            8 => put(path, Thing::File(content::bytes(file, length), nth.is_multiple_of(2))),
            _ => match (file / 10 + nth) % VERSIONS {
                0 => put(path, same),
                1 => put(format!("{path}/within/it"), other),
                2 => put(path, Thing::Link(format!("to-{nth}").into())),
                _ => put(path, Thing::Folder),
            },
        }
    }
    things
}

/// What is wrong about what is there while `from` becomes `to`: something that neither has, or less than both have.
fn wrong(there: &Things, from: &Things, to: &Things) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in there.keys().chain(from.keys()).chain(to.keys()) {
        let (thing, was, will) = (there.get(path), from.get(path), to.get(path));
        let path = path.display();
        match thing {
            None if was.is_some() && will.is_some() => wrong.push(format!("{path} is gone")),
            Some(_) if thing != was && thing != will => wrong.push(format!("{path} is neither old nor new")),
            Some(_) if was == will && thing != will => wrong.push(format!("{path} was right")),
            _ => {}
        }
    }
    wrong
}

/// How a run of the mirror went.
enum Run {
    Killed,
    Ended(bool),
}

/// Runs the mirror, and kills it: after a random time, or while names are given.
fn run(command: &mut Command, folder: &Path, longest: Duration, random: &mut Rng) -> Result<Run, Error> {
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let status = if random.bool() {
        wait(&mut child, longest.mul_f64(random.f64()))?
    } else {
        let begun = Instant::now();
        let mut most = 0;
        // It fills, and then it empties.
        loop {
            let staged = fs::read_dir(folder.join(STAGING)).map_or(0, Iterator::count);
            most = most.max(staged);
            if staged < most || begun.elapsed() > 2 * longest || child.try_wait()?.is_some() {
                break;
            }
        }
        wait(&mut child, WHILE_PLACING.mul_f64(random.f64()))?
    };
    // It may just have ended.
    let _ = child.kill();
    child.wait()?;
    Ok(status.map_or(Run::Killed, |status| Run::Ended(status.success())))
}

/// A server that shares all states of a folder, and a folder that becomes one of them after the other.
pub struct Mirror {
    case: TempDir,
    ids: Vec<String>,
    server: Server,
}

impl Mirror {
    /// Shares all states.
    ///
    /// # Errors
    ///
    /// Where there is no place for them.
    pub fn start() -> Result<Mirror, Error> {
        let case = in_memory()?;
        let shared = case.path().join("share");
        fs::create_dir(&shared)?;
        let ids: Result<Vec<String>, Error> =
            (0..VERSIONS).map(|nth| share(&version(nth), &shared)).collect();
        let server = Server::start(&shared, &case.path().join("serve-state"), &[]);
        Ok(Mirror { case, ids: ids?, server })
    }

    /// A place for other files.
    pub fn path(&self) -> &Path {
        self.case.path()
    }

    /// The folder.
    pub fn folder(&self) -> PathBuf {
        self.case.path().join("mirror")
    }

    /// What makes the folder this state.
    pub fn command(&self, nth: usize) -> Command {
        let mut command = tool("cjp2p-get", &self.case.path().join("state"));
        let peer = self.server.address.to_string();
        command.args(["--quiet", "--peer", &peer, &self.ids[nth], "--delete", "-o"]).arg(self.folder());
        command
    }

    /// Whether the folder is this state, and nothing else.
    fn is(&self, state: &Things) -> Result<bool, Error> {
        Ok(found(&self.folder())? == *state && !self.folder().join(STAGING).exists())
    }

    /// Removes the folder, and all that is known of it.
    ///
    /// # Errors
    ///
    /// Where that fails.
    pub fn reset(&self) -> Result<(), Error> {
        for name in ["mirror", "state"] {
            let path = self.case.path().join(name);
            if path.exists() {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }
}

/// Mirrors one state after the other, and kills the mirror so many times.
pub(super) fn kill(bench: &Bench, kills: usize, random: &mut Rng) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    let mirror = Mirror::start()?;
    let folder = mirror.folder();
    let versions: Vec<Things> = (0..VERSIONS).map(version).collect();
    bench.run(&mut mirror.command(0))?.is_proper("cjp2p-get", &[0])?;
    let begun = Instant::now();
    bench.run(&mut mirror.command(1))?.is_proper("cjp2p-get", &[0])?;
    let longest = begun.elapsed();
    let mut now = 1;
    while tally.kills < kills {
        let next = (now + 1 + random.usize(..versions.len() - 1)) % versions.len();
        let (from, to) = (&versions[now], &versions[next]);
        loop {
            let ended = run(&mut mirror.command(next), &folder, longest, random)?;
            let faults = wrong(&found(&folder)?, from, to);
            tally.wrong.extend(faults.into_iter().map(|what| format!("kill {}: {what}", tally.kills)));
            match ended {
                Run::Killed => tally.kills += 1,
                Run::Ended(false) => tally.wrong.push("it failed".into()),
                Run::Ended(true) => break,
            }
            // Now and then the next one is left alone.
            if tally.kills >= kills || random.u8(..4) == 0 {
                break;
            }
        }
        bench.run(&mut mirror.command(next))?.is_proper("cjp2p-get", &[0])?;
        if !mirror.is(to)? {
            tally.wrong.push(format!("after kill {} it is not what it should be at last", tally.kills));
        }
        tally.completed += 1;
        now = next;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_differ_in_every_way_and_by_less_than_half() {
        let versions: Vec<Things> = (0..VERSIONS).map(version).collect();
        for (from, to) in versions.iter().flat_map(|from| versions.iter().map(move |to| (from, to))) {
            let going = from.keys().filter(|path| !to.contains_key(*path)).count();
            assert!(going * 2 < from.len(), "{going} of {}", from.len());
            if from != to {
                assert!(going > 10);
                let changed =
                    from.iter().filter(|(path, thing)| to.get(*path).is_some_and(|to| to != *thing));
                assert!(changed.count() > 20);
            }
        }
    }

    #[test]
    fn what_is_neither_old_nor_new_or_gone_is_noticed() {
        let (from, to) = (version(0), version(1));
        assert!(wrong(&from, &from, &to).is_empty() && wrong(&to, &from, &to).is_empty());
        let path = Path::new("0/0").to_owned();
        let mut there = from.clone();
        there.remove(&path);
        assert_eq!(wrong(&there, &from, &to), ["0/0 is gone", "0/0 is gone"]);
        there.insert(path, Thing::File(b"something else".to_vec(), false));
        assert!(wrong(&there, &from, &to).iter().all(|what| what == "0/0 is neither old nor new"));
    }
}
