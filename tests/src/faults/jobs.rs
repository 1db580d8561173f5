//! The writers: what each is given, how it is run, and what may be there after it failed and after it ran again.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::trees::check_small;
use super::{Bench, Ended, copy_folder, names};
use crate::content;
use crate::lab::Error;
use crate::real::tool;

/// A program that writes, and what its writing promises.
pub struct Job {
    /// What the table calls it.
    pub name: &'static str,
    /// The program.
    pub tool: &'static str,
    /// How it may end when a write fails.
    pub codes: &'static [i32],
    /// Puts into an empty folder what it finds there.
    pub prepare: fn(&Bench, &Path) -> Result<(), Error>,
    /// How it is called.
    pub command: fn(&Bench, &Path) -> Command,
    /// What is wrong about what is there after it ended in whatever way.
    pub after: fn(&Bench, &Path, &Ended) -> Result<(), String>,
    /// What is wrong after the same command has run again and nothing failed.
    pub again: fn(&Bench, &Path, &Ended) -> Result<(), String>,
}

/// Fetches to a file where there is nothing yet.
const GET: Job = Job {
    name: "get -o, BLAKE3",
    tool: "cjp2p-get",
    codes: &[0, 1, 7],
    prepare: |_, _| Ok(()),
    command: |bench, folder| get(bench, folder, 0),
    after: |bench, folder, ended| file_is_right_or_absent(folder, ended, &bench.content),
    again: |bench, folder, _| only_the_file(folder, &bench.content),
};

/// Changes a table of three peers.
const PEERS: Job = Job {
    name: "peers add",
    tool: "cjp2p-peers",
    codes: &[0, 1],
    prepare: |_, folder| table(folder, &table_of(&[1, 2, 3])),
    command: |_, folder| peers(folder, &["add", "127.0.0.1:4"]),
    after: |_, folder, ended| table_is(folder, ended, &[1, 2, 3], &[1, 2, 3, 4]),
    again: |_, folder, ended| table_is(folder, ended, &[1, 2, 3, 4], &[1, 2, 3, 4]),
};

/// All writers.
pub const JOBS: &[Job] = &[
    GET,
    Job { name: "get -o, SHA-256", command: |bench, folder| get(bench, folder, 1), ..GET },
    Job { name: "get -o, going on", prepare: half_a_download, ..GET },
    Job {
        name: "get -o --force",
        prepare: |_, folder| Ok(fs::write(folder.join("file"), OLD)?),
        command: |bench, folder| {
            let mut command = get(bench, folder, 0);
            command.arg("--force");
            command
        },
        after: |bench, folder, ended| match fs::read(folder.join("file")) {
            Ok(bytes) if bytes == bench.content => Ok(()),
            Ok(bytes) if bytes == OLD && ended.code != Some(0) => Ok(()),
            _ => Err("the file is neither the old nor the new one".into()),
        },
        ..GET
    },
    Job {
        name: "get -o --range",
        command: |bench, folder| {
            let mut command = get(bench, folder, 0);
            command.args(["--range", "1000+900000", "--range", "-5000"]);
            command
        },
        after: |bench, folder, ended| file_is_right_or_absent(folder, ended, &excerpt(bench)),
        again: |bench, folder, _| only_the_file(folder, &excerpt(bench)),
        ..GET
    },
    Job {
        name: "get -o, a folder",
        command: |bench, folder| {
            let mut command = tool("cjp2p-get", &folder.join("state"));
            command.args(["--quiet", "--peer", &bench.peer, &bench.small_folder, "-o"]);
            command.arg(folder.join("mirror"));
            command
        },
        after: |bench, folder, ended| {
            check_small(&bench.content, &folder.join("mirror"), ended.code == Some(0))
        },
        again: |bench, folder, _| {
            check_small(&bench.content, &folder.join("mirror"), true)?;
            expect_names(folder, &["mirror", "state"])
        },
        ..GET
    },
    Job {
        name: "get, SHA-256, to a pipe",
        prepare: |_, folder| Ok(fs::create_dir(folder.join("temp"))?),
        command: |bench, folder| {
            let mut command = tool("cjp2p-get", &folder.join("state"));
            command.args(["--quiet", "--peer", &bench.peer, &bench.ids[1], "--temp-dir"]);
            command.arg(folder.join("temp"));
            command
        },
        after: |bench, folder, ended| {
            let is_done = ended.code == Some(0);
            if !bench.content.starts_with(&ended.stdout) || (is_done && !all_came(bench, ended)) {
                return Err(format!("{} bytes were written, exit code {:?}", ended.stdout.len(), ended.code));
            }
            expect_names(&folder.join("temp"), &[])
        },
        again: |bench, _, ended| if all_came(bench, ended) { Ok(()) } else { Err("not all came".into()) },
        ..GET
    },
    PEERS,
    Job {
        name: "peers remove",
        command: |_, folder| peers(folder, &["remove", "127.0.0.1:2"]),
        after: |_, folder, ended| table_is(folder, ended, &[1, 2, 3], &[1, 3]),
        again: |_, folder, ended| table_is(folder, ended, &[1, 3], &[1, 3]),
        ..PEERS
    },
    Job {
        name: "peers set",
        prepare: |_, folder| {
            fs::write(folder.join("new.json"), table_of(&[7, 8]))?;
            table(folder, &table_of(&[1, 2, 3]))
        },
        command: |_, folder| {
            let mut command = peers(folder, &["set"]);
            command.arg(folder.join("new.json"));
            command
        },
        after: |_, folder, ended| table_is(folder, ended, &[1, 2, 3], &[7, 8]),
        again: |_, folder, ended| table_is(folder, ended, &[7, 8], &[7, 8]),
        ..PEERS
    },
    Job {
        name: "peers add, damaged table",
        prepare: |_, folder| table(folder, DAMAGED),
        after: |_, folder, ended| {
            damaged_is_kept(folder)?;
            let now = fs::read_to_string(folder.join("state/peers.json")).unwrap_or_default();
            if now == DAMAGED && ended.code != Some(0) { Ok(()) } else { expect_table(folder, &[1, 4]) }
        },
        again: |_, folder, ended| {
            damaged_is_kept(folder)?;
            table_is(folder, ended, &[1, 4], &[1, 4])
        },
        ..PEERS
    },
    Job {
        name: "serve, hashing",
        tool: "cjp2p-serve",
        codes: &[0, 1],
        prepare: |_, folder| share(folder),
        command: |_, folder| serve(folder),
        after: |_, _, ended| shared_is_right(ended).map(drop),
        again: |_, folder, ended| all_is_shared(folder, ended),
    },
    Job {
        name: "serve, tidying",
        tool: "cjp2p-serve",
        codes: &[0, 1],
        prepare: |bench, folder| {
            share(folder)?;
            bench.run(&mut serve(folder))?;
            let store = folder.join("state/hashes-1");
            let lines = fs::read(&store)?;
            Ok(fs::write(&store, [&b"damaged\n"[..], &lines, b"damaged\n"].concat())?)
        },
        command: |_, folder| serve(folder),
        after: |_, _, ended| shared_is_right(ended).map(drop),
        again: |_, folder, ended| all_is_shared(folder, ended),
    },
    Job {
        name: "hash --tree",
        tool: "cjp2p-hash",
        codes: &[0, 1, 7],
        prepare: |bench, folder| Ok(fs::write(folder.join("content"), &bench.content)?),
        command: |_, folder| {
            let mut command = tool("cjp2p-hash", &folder.join("state"));
            command.arg("--tree").arg(folder.join("trees")).arg(folder.join("content"));
            command
        },
        after: |bench, folder, ended| match names(&folder.join("trees")).as_slice() {
            [] if ended.code != Some(0) => Ok(()),
            [name] if bench.ids[0].ends_with(name.as_str()) => tree_is_right(bench, folder, name),
            other => Err(format!("there is {other:?}, exit code {:?}", ended.code)),
        },
        again: |bench, folder, _| {
            let name = bench.ids[0].trim_start_matches("blake3/");
            expect_names(&folder.join("trees"), &[name])
        },
    },
];

const OLD: &[u8] = b"what was there before";

const DAMAGED: &str = r#"[{"address":"127.0.0.1:1"},{"address":"nowhere"}]"#;

/// Lengths of the files that a server hashes: the larger ones have a tree that is kept.
const SHARED: [usize; 4] = [1_000, 600_000, 700_000, 800_000];

pub(super) fn get(bench: &Bench, folder: &Path, id: usize) -> Command {
    let mut command = tool("cjp2p-get", &folder.join("state"));
    command.args(["--quiet", "--peer", &bench.peer, &bench.ids[id], "-o"]).arg(folder.join("file"));
    command
}

fn excerpt(bench: &Bench) -> Vec<u8> {
    let end = bench.content.len() - 5000;
    [&bench.content[1000..901_000], &bench.content[end..]].concat()
}

/// What a fetch leaves that was interrupted half way, as if it had been killed.
fn half_a_download(bench: &Bench, folder: &Path) -> Result<(), Error> {
    let template = bench.beside("half");
    if !template.exists() {
        // A fetch of a range leaves its partial if the file cannot be had.
        fs::create_dir(&template)?;
        fs::write(template.join("file"), "something else")?;
        let half = bench.content.len() / 2;
        let mut command = get(bench, &template, 0);
        command.args(["--range", &format!("0+{half}")]);
        // The same length, so that it is noticed at the end only.
        fs::write(template.join("file"), vec![0; half])?;
        let ended = bench.run(&mut command)?;
        fs::remove_file(template.join("file"))?;
        if names(&template) != ["file.cjp2p-part", "file.cjp2p-resume", "state"] {
            return Err(format!("no half a download: {ended:?}").into());
        }
    }
    copy_folder(&template, folder)
}

fn file_is_right_or_absent(folder: &Path, ended: &Ended, expected: &[u8]) -> Result<(), String> {
    match fs::read(folder.join("file")) {
        Ok(bytes) if bytes == expected => Ok(()),
        Ok(bytes) => Err(format!("the file has {} bytes and is wrong", bytes.len())),
        Err(_) if ended.code == Some(0) => Err("done, and there is no file".into()),
        Err(_) => Ok(()),
    }
}

fn only_the_file(folder: &Path, expected: &[u8]) -> Result<(), String> {
    if fs::read(folder.join("file")).ok().as_deref() != Some(expected) {
        return Err("the file is wrong".into());
    }
    expect_names(folder, &["file", "state"])
}

fn expect_names(folder: &Path, expected: &[&str]) -> Result<(), String> {
    let there = names(folder);
    if there == expected { Ok(()) } else { Err(format!("{}: there is {there:?}", folder.display())) }
}

fn all_came(bench: &Bench, ended: &Ended) -> bool {
    ended.stdout == bench.content
}

pub(super) fn peers(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = tool("cjp2p-peers", &folder.join("state"));
    command.args(arguments);
    command
}

pub(super) fn table(folder: &Path, text: &str) -> Result<(), Error> {
    fs::create_dir(folder.join("state"))?;
    Ok(fs::write(folder.join("state/peers.json"), text)?)
}

fn table_of(ports: &[u16]) -> String {
    let lines = ports.iter().map(|port| format!("{{\"address\":\"127.0.0.1:{port}\",\"origin\":\"added\"}}"));
    format!("[\n{}\n]\n", lines.collect::<Vec<_>>().join(",\n"))
}

/// The ports of the table in a state folder, as its file has them.
pub(super) fn ports(folder: &Path) -> Result<Vec<u16>, String> {
    let text = fs::read_to_string(folder.join("state/peers.json")).map_err(|error| error.to_string())?;
    let table: Vec<Value> = serde_json::from_str(&text).map_err(|error| format!("peers.json: {error}"))?;
    let port = |peer: &Value| peer["address"].as_str()?.rsplit(':').next()?.parse().ok();
    let mut ports: Vec<u16> = table.iter().filter_map(port).collect();
    ports.sort_unstable();
    Ok(ports)
}

fn expect_table(folder: &Path, expected: &[u16]) -> Result<(), String> {
    let found = ports(folder)?;
    if found == expected { Ok(()) } else { Err(format!("the table has {found:?}")) }
}

/// Before or after, and after where it says so; and nothing was set aside.
fn table_is(folder: &Path, ended: &Ended, before: &[u16], after: &[u16]) -> Result<(), String> {
    match expect_table(folder, after) {
        Err(_) if ended.code != Some(0) => expect_table(folder, before),
        result => result,
    }
}

fn damaged_is_kept(folder: &Path) -> Result<(), String> {
    let state = folder.join("state");
    let kept: Vec<String> = names(&state)
        .into_iter()
        .filter(|name| name.starts_with("peers.json"))
        .filter(|name| fs::read_to_string(state.join(name)).is_ok_and(|text| text == DAMAGED))
        .collect();
    let aside = kept.iter().filter(|name| name.contains("damaged")).count();
    if kept.is_empty() || aside > 1 { Err(format!("the damaged table is in {kept:?}")) } else { Ok(()) }
}

fn shared_content(nth: usize) -> Vec<u8> {
    content::bytes(nth as u64, SHARED[nth])
}

pub(super) fn share(folder: &Path) -> Result<(), Error> {
    fs::create_dir(folder.join("share"))?;
    for nth in 0..SHARED.len() {
        fs::write(folder.join("share").join(nth.to_string()), shared_content(nth))?;
    }
    Ok(())
}

fn serve(folder: &Path) -> Command {
    let mut command = tool("cjp2p-serve", &folder.join("state"));
    command.args(["--json", "--quiet", "--listen", "127.0.0.1:0", "--for", "600ms"]);
    command.arg(folder.join("share"));
    command
}

/// What a server printed about files it shares is right. Returns how many, and of how many at the start it knew the ids.
pub(super) fn shared_is_right(ended: &Ended) -> Result<(usize, Option<u64>), String> {
    let (mut count, mut hashed) = (0, None);
    for line in String::from_utf8_lossy(&ended.stdout).lines() {
        let event: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        if event["event"] == "ready" {
            hashed = event["hashed"].as_u64();
        }
        if event["event"] == "shared" {
            let name = event["path"].as_str().and_then(|path| path.rsplit('/').next()?.parse().ok());
            let bytes = shared_content(name.ok_or("a file of no such name")?);
            let ids = [content::blake3_id(&bytes), content::sha256_id(&bytes)].map(|id| id.to_string());
            if event["ids"][0] != ids[0] || event["ids"][1] != ids[1] {
                return Err(format!("wrong ids: {line}"));
            }
            count += 1;
        }
    }
    Ok((count, hashed))
}

/// All files are shared under their ids, and what is kept between runs is as it should be.
fn all_is_shared(folder: &Path, ended: &Ended) -> Result<(), String> {
    let (count, hashed) = shared_is_right(ended)?;
    if count != SHARED.len() || hashed.is_none() {
        return Err(format!("{count} files are shared: {}", ended.stderr));
    }
    let trees = names(&folder.join("state/trees-2"));
    if trees.len() != 3 || trees.iter().any(|name| name.len() != 64) {
        return Err(format!("the trees kept are {trees:?}"));
    }
    Ok(())
}

fn tree_is_right(bench: &Bench, folder: &Path, name: &str) -> Result<(), String> {
    let bytes = fs::read(folder.join("trees").join(name)).map_err(|error| error.to_string())?;
    let tree = crate::reference_tree::file(&bench.content);
    if bytes == tree { Ok(()) } else { Err("the tree file is wrong".into()) }
}
