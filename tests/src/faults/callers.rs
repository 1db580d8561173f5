//! The tools, as they are run while the system refuses calls: what each is given, and what is right if it succeeds all the same.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use super::jobs::{get, peers, ports, share, shared_is_right, table};
use super::{Bench, Ended, names};
use crate::lab::Error;
use crate::real::tool;

/// Opens what a tool is to read from its standard input, for a case in this folder.
pub type Stdin = fn(&Path) -> Result<Stdio, Error>;

/// A tool at its work.
pub struct Caller {
    /// What the table calls it.
    pub name: &'static str,
    /// The program.
    pub tool: &'static str,
    /// How it may end, beside success: what its manual names.
    pub codes: &'static [i32],
    /// Puts into an empty folder what it finds there.
    pub prepare: fn(&Bench, &Path) -> Result<(), Error>,
    /// How it is called.
    pub command: fn(&Bench, &Path) -> Result<Command, Error>,
    /// Its standard input, if it has one.
    pub stdin: Option<Stdin>,
    /// What makes use of it meanwhile.
    pub beside: Option<fn(&Bench, &Path) -> Command>,
    /// What is wrong about what came of it, where it ended with 0.
    pub right: fn(&Bench, &Path, &Ended) -> Result<(), String>,
}

/// The address of servers of which something is fetched: other ones than those of tests beside this.
fn address() -> String {
    let pid = std::process::id();
    format!("127.66.{}.{}:24254", pid / 250 % 250 + 1, pid % 250 + 1)
}

/// An ordinary run is over in a fraction of this.
const LIMITS: [&str; 4] = ["--timeout", "2s", "--stall", "2s"];

const GET: Caller = Caller {
    name: "get -o",
    tool: "cjp2p-get",
    codes: &[1, 3, 4, 7],
    prepare: |_, _| Ok(()),
    command: |bench, folder| {
        let mut command = get(bench, folder, 0);
        command.args(LIMITS);
        Ok(command)
    },
    stdin: None,
    beside: None,
    right: |bench, folder, _| match fs::read(folder.join("file")) {
        Ok(bytes) if bytes == bench.content => Ok(()),
        _ => Err("the file is not what was asked for".into()),
    },
};

const HASH: Caller = Caller {
    name: "hash",
    tool: "cjp2p-hash",
    codes: &[1, 7],
    prepare: |bench, folder| Ok(fs::write(folder.join("content"), &bench.content)?),
    command: |_, folder| {
        let mut command = tool("cjp2p-hash", &folder.join("state"));
        command.arg(folder.join("content"));
        Ok(command)
    },
    stdin: None,
    beside: None,
    right: |bench, _, ended| hashed_to(ended, &bench.ids[..1]),
};

const PEERS: Caller = Caller {
    name: "peers ping",
    tool: "cjp2p-peers",
    codes: &[1, 3, 7],
    prepare: |_, folder| table(folder, "[]"),
    command: |bench, folder| Ok(peers(folder, &["ping", &bench.peer])),
    stdin: None,
    beside: None,
    right: |bench, _, ended| tells(ended, &bench.peer),
};

const SERVE: Caller = Caller {
    name: "serve, hashing",
    tool: "cjp2p-serve",
    codes: &[1, 7],
    prepare: |_, folder| share(folder),
    command: |_, folder| Ok(serve_for(folder, "400ms", "127.0.0.1:0")),
    stdin: None,
    beside: None,
    right: |_, _, ended| shared_is_right(ended).map(drop),
};

/// All of them.
pub const CALLERS: &[Caller] = &[
    GET,
    Caller {
        name: "get, to a pipe",
        command: |bench, folder| {
            let mut command = tool("cjp2p-get", &folder.join("state"));
            command.args(["--quiet", "--peer", &bench.peer, &bench.ids[0]]).args(LIMITS);
            Ok(command)
        },
        right: |bench, _, ended| {
            if ended.stdout == bench.content { Ok(()) } else { Err("not what was asked for".into()) }
        },
        ..GET
    },
    Caller {
        name: "get -, SHA-256, to a folder",
        stdin: Some(|folder| Ok(File::open(folder.join("list"))?.into())),
        prepare: |bench, folder| Ok(fs::write(folder.join("list"), format!("{}  file\n", bench.ids[1]))?),
        command: |bench, folder| {
            let mut command = tool("cjp2p-get", &folder.join("state"));
            command
                .args(["--quiet", "--peer", &bench.peer, "-", "--into"])
                .arg(folder.join("into"))
                .args(LIMITS);
            Ok(command)
        },
        right: |bench, folder, _| {
            let there = names(&folder.join("into"));
            match there.as_slice() {
                [name, incomplete]
                    if incomplete == "incomplete"
                        && fs::read(folder.join("into").join(name)).is_ok_and(|b| b == bench.content) =>
                {
                    Ok(())
                }
                _ => Err(format!("there is {there:?}")),
            }
        },
        ..GET
    },
    HASH,
    Caller {
        name: "hash, of a pipe",
        command: |_, folder| {
            let mut command = tool("cjp2p-hash", &folder.join("state"));
            command.args(["--algorithm", "all"]);
            Ok(command)
        },
        stdin: Some(|folder| {
            let mut cat = Command::new("cat");
            let mut cat = cat.arg(folder.join("content")).stdout(Stdio::piped()).spawn()?;
            let pipe = cat.stdout.take().ok_or("no pipe")?;
            // It ends when all is read, or nobody reads any more.
            std::thread::spawn(move || cat.wait());
            Ok(pipe.into())
        }),
        right: |bench, _, ended| hashed_to(ended, &bench.ids),
        ..HASH
    },
    Caller {
        name: "hash -c",
        prepare: |bench, folder| {
            fs::write(folder.join("content"), &bench.content)?;
            Ok(fs::write(folder.join("list"), format!("{}  {}/content\n", bench.ids[0], folder.display()))?)
        },
        command: |_, folder| {
            let mut command = tool("cjp2p-hash", &folder.join("state"));
            command.arg("-c").arg(folder.join("list"));
            Ok(command)
        },
        right: |_, _, ended| tells(ended, ": OK"),
        ..HASH
    },
    PEERS,
    Caller {
        name: "peers content",
        command: |bench, folder| Ok(peers(folder, &["content", &bench.peer])),
        codes: &[1, 3, 7, 10],
        right: |bench, _, ended| tells(ended, &bench.ids[0]),
        ..PEERS
    },
    Caller {
        name: "peers add",
        codes: &[1, 7],
        command: |_, folder| Ok(peers(folder, &["add", "127.0.0.1:4"])),
        right: |_, folder, _| match ports(folder)?.as_slice() {
            [4] => Ok(()),
            other => Err(format!("the table has {other:?}")),
        },
        ..PEERS
    },
    Caller {
        name: "peers",
        codes: &[1, 7],
        prepare: |_, folder| table(folder, "[{\"address\":\"127.0.0.1:4\",\"origin\":\"added\"}]"),
        command: |_, folder| Ok(peers(folder, &[])),
        right: |_, _, ended| tells(ended, "127.0.0.1:4"),
        ..PEERS
    },
    SERVE,
    Caller {
        name: "serve, to a getter",
        prepare: |bench, folder| {
            fs::create_dir(folder.join("share"))?;
            Ok(fs::write(folder.join("share/file"), &bench.content)?)
        },
        command: |_, folder| Ok(serve_for(folder, "1500ms", &address())),
        beside: Some(|bench, folder| {
            let mut command = tool("cjp2p-get", &folder.join("getter"));
            command.args([
                "--quiet",
                "--no-share",
                "--peer",
                &address(),
                &bench.ids[0],
                "--timeout",
                "1300ms",
            ]);
            command
        }),
        right: |_, _, _| Ok(()),
        ..SERVE
    },
];

fn serve_for(folder: &Path, time: &str, address: &str) -> Command {
    let mut command = tool("cjp2p-serve", &folder.join("state"));
    command.args(["--json", "--quiet", "--for", time, "--listen", address]).arg(folder.join("share"));
    command
}

fn hashed_to(ended: &Ended, expected: &[String]) -> Result<(), String> {
    let told = String::from_utf8_lossy(&ended.stdout);
    let ids: Vec<&str> = told.lines().filter_map(|line| line.split_whitespace().next()).collect();
    if ids == expected { Ok(()) } else { Err(format!("hashed to {ids:?}")) }
}

fn tells(ended: &Ended, what: &str) -> Result<(), String> {
    let told = String::from_utf8_lossy(&ended.stdout);
    if told.contains(what) { Ok(()) } else { Err(format!("told {told:?}, and not {what:?}")) }
}
