//! What the rows have in common: an origin that is fed piece by piece, and viewers whose output is watched.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cjp2p_tests::content;
use cjp2p_tests::lab::{Error, Lab, Programs};
use cjp2p_tests::sim::Link;
use serde_json::Value;

/// After the input has ended, a viewer has so long to end too.
const LIMIT: Duration = Duration::from_secs(60);

/// The programs, and where they may write.
pub(crate) struct Bench {
    programs: Programs,
    scratch: PathBuf,
    count: Cell<u64>,
}

impl Bench {
    pub(crate) fn new(programs: Programs, scratch: &Path) -> Bench {
        Bench { programs, scratch: scratch.to_path_buf(), count: Cell::new(0) }
    }
}

/// What goes into the stream: so many pieces of so many bytes, one each `every`.
#[derive(Clone, Copy)]
pub(crate) struct Pieces {
    pub(crate) length: usize,
    pub(crate) every: Duration,
    pub(crate) count: usize,
}

impl Pieces {
    /// Bytes in all.
    pub(crate) fn total(&self) -> usize {
        self.length * self.count
    }
}

/// A link of so many Mbit/s that adds so many milliseconds to each round trip, with such a queue.
pub(crate) fn link(megabits: u64, rtt: u64, queue: u64) -> Link {
    Link { rate: Some(megabits * 125_000), delay: Duration::from_micros(rtt * 500), queue, ..Link::default() }
}

/// Hosts; on the first of them an origin.
pub(crate) struct Stage<'a> {
    origin: Child,
    stdin: Option<ChildStdin>,
    /// Kept open, so that it never writes to a closed pipe.
    _lines: BufReader<ChildStdout>,
    viewers: Vec<Child>,
    pub(crate) lab: Lab,
    folder: tempfile::TempDir,
    id: String,
    pieces: Pieces,
    content: Arc<Vec<u8>>,
    bench: &'a Bench,
}

/// What a viewer had when.
pub(crate) type Seen = JoinHandle<Result<Vec<Instant>, String>>;

impl<'a> Stage<'a> {
    pub(crate) fn new(bench: &'a Bench, links: &[Link], pieces: Pieces) -> Result<Stage<'a>, Error> {
        bench.count.set(bench.count.get() + 1);
        let seed = bench.count.get();
        let folder = tempfile::tempdir_in(&bench.scratch)?;
        let lab = Lab::start(links, seed)?;
        let mut command = bench.programs.command("cjp2p-serve", &folder.path().join("origin"))?;
        command.env("CJP2P_KEY", folder.path().join("key.json"));
        command.args(["--json", "--quiet", "--stream", "live", "--listen", &lab.address(0).to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut origin = lab.spawn(0, command)?;
        let stdin = origin.stdin.take();
        let mut lines = BufReader::new(origin.stdout.take().ok_or("no pipe from cjp2p-serve")?);
        let id = loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err("cjp2p-serve ended at its start".into());
            }
            let event: Value = serde_json::from_str(&line)?;
            if let ("stream", Some(id)) = (event["event"].as_str().unwrap_or_default(), event["id"].as_str())
            {
                break id.to_owned();
            }
        };
        let content = Arc::new(content::bytes(seed, pieces.total()));
        Ok(Stage {
            origin,
            stdin,
            _lines: lines,
            viewers: Vec::new(),
            lab,
            folder,
            id,
            pieces,
            content,
            bench,
        })
    }

    /// Starts a viewer on this host that is told of another one, alone if `only`, and watches what it writes.
    pub(crate) fn view(&mut self, host: usize, peer: usize, only: bool) -> Result<Seen, Error> {
        let state = self.folder.path().join(format!("viewer-{host}"));
        let mut command = self.bench.programs.command("cjp2p-get", &state)?;
        let (listen, peer) = (self.lab.address(host).to_string(), self.lab.address(peer).to_string());
        command.args(["--quiet", "--from", "start", "--listen", &listen]);
        command.args([if only { "--only-peer" } else { "--peer" }, &peer, &self.id]);
        let mut viewer = self.lab.spawn(host, {
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            command
        })?;
        let stdout = viewer.stdout.take().ok_or("no pipe from cjp2p-get")?;
        self.viewers.push(viewer);
        let (content, length) = (self.content.clone(), self.pieces.length);
        Ok(thread::spawn(move || watch(stdout, &content, length)))
    }

    /// Feeds the origin, and returns when each piece was written, once all is.
    pub(crate) fn feed(&mut self) -> Result<Vec<Instant>, Error> {
        let mut stdin = self.stdin.take().ok_or("the input has ended")?;
        let begun = Instant::now();
        let mut sent = Vec::new();
        for (n, piece) in (0u32..).zip(self.content.chunks(self.pieces.length)) {
            thread::sleep((begun + self.pieces.every * n).saturating_duration_since(Instant::now()));
            sent.push(Instant::now());
            stdin.write_all(piece)?;
        }
        Ok(sent)
    }

    /// Waits until all viewers have ended well.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let end = Instant::now() + LIMIT;
        for viewer in &mut self.viewers {
            let status = loop {
                match viewer.try_wait()? {
                    Some(status) => break status,
                    None if Instant::now() > end => return Err("a viewer does not end".into()),
                    None => thread::sleep(Duration::from_millis(10)),
                }
            };
            if !status.success() {
                return Err(format!("a viewer: {status}").into());
            }
        }
        Ok(())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for child in self.viewers.iter_mut().chain([&mut self.origin]) {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads all that a viewer writes, and notes when each piece of so many bytes was there. It has to be `content`.
fn watch(mut output: ChildStdout, content: &[u8], length: usize) -> Result<Vec<Instant>, String> {
    let (mut seen, mut at) = (Vec::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        };
        if content.get(at..at + read) != Some(&buffer[..read]) {
            return Err(format!("what a viewer wrote from byte {at} on is not what went in"));
        }
        at += read;
        let now = Instant::now();
        while (seen.len() + 1) * length <= at {
            seen.push(now);
        }
    }
    match at == content.len() {
        true => Ok(seen),
        false => Err(format!("a viewer has {at} bytes of {}", content.len())),
    }
}

/// The delays in milliseconds of all pieces from number `skip` on, in order of their length.
pub(crate) fn delays(sent: &[Instant], seen: Vec<Seen>, skip: usize) -> Result<Vec<f64>, Error> {
    let mut all = Vec::new();
    for seen in seen {
        let seen = seen.join().map_err(|_| "a thread panicked")??;
        let pairs = sent.iter().zip(&seen).skip(skip);
        all.extend(pairs.map(|(sent, seen)| seen.saturating_duration_since(*sent).as_secs_f64() * 1000.0));
    }
    all.sort_unstable_by(f64::total_cmp);
    if all.is_empty() { Err("no delay was measured".into()) } else { Ok(all) }
}

/// The delay that so many of a thousand are not above.
pub(crate) fn per_mille(delays: &[f64], count: usize) -> f64 {
    delays.get((delays.len() * count / 1000).min(delays.len() - 1)).copied().unwrap_or(f64::INFINITY)
}
