//! Our own programs: a server, and what fetches from it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Instant;

use cjp2p_tests::lab::{Error, programs};
use serde_json::Value;

use crate::bench::{Bench, MIB};
use crate::net::{End, Net};
use crate::process::{Program, Sample, Server, run};

/// A running cjp2p-serve.
pub(crate) struct Serve<'a> {
    bench: &'a Bench,
    net: &'a Net,
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    /// Kept open, so that it never writes to a closed pipe. It prints too little to fill it.
    lines: RefCell<BufReader<ChildStdout>>,
    /// The files that it shares, by their names: the BLAKE3 id and the SHA-256 id.
    pub(crate) ids: BTreeMap<PathBuf, [String; 2]>,
    /// From its start until it was ready, in seconds.
    pub(crate) seconds: f64,
}

/// Where a getter puts what it fetches.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Output {
    /// A file.
    File,
    /// Standard output, which is nothing.
    Null,
    /// Standard output, which is a pipe that is read and forgotten.
    Pipe,
}

impl<'a> Serve<'a> {
    /// Serves a folder, and waits until all that is there is shared. What it hashed is remembered in `state`.
    pub(crate) fn start(
        bench: &'a Bench,
        net: &'a Net,
        shared: &Path,
        state: &Path,
    ) -> Result<Serve<'a>, Error> {
        let address = net.listen(End::Server)?;
        let mut command = bench.programs.command("cjp2p-serve", state)?;
        command.args(["--json", "--quiet", "--listen", &address.to_string()]).arg(shared);
        command.stdout(Stdio::piped());
        let begun = Instant::now();
        let mut child = net.spawn(End::Server, command)?;
        let stdout = child.stdout.take();
        let server = Server::new(child);
        let mut lines = BufReader::new(stdout.ok_or("no pipe from cjp2p-serve")?);
        // They are looked at afterwards: it does not wait for who reads them.
        let mut printed = Vec::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err("cjp2p-serve ended at its start".into());
            }
            let is_ready = line.contains("\"ready\"");
            printed.push(line);
            if is_ready {
                break;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let memory = server.peak() / MIB;
        eprintln!("compare: cjp2p-serve is ready after {seconds:.3} s, had {memory} MiB resident");
        let mut ids = BTreeMap::new();
        for line in printed {
            let event: Value = serde_json::from_str(&line)?;
            if let (Some(path), [Some(blake3), Some(sha256)]) =
                (event["path"].as_str(), [0, 1].map(|n| event["ids"][n].as_str()))
            {
                ids.insert(path.into(), [blake3.to_owned(), sha256.to_owned()]);
            }
        }
        Ok(Serve { bench, net, server, address, lines: lines.into(), ids, seconds })
    }

    /// Serves the folder that most rows fetch from.
    pub(crate) fn of_shared(bench: &'a Bench, net: &'a Net) -> Result<Serve<'a>, Error> {
        Serve::start(bench, net, &bench.shared()?, &bench.kept_folder("serve")?)
    }

    /// Waits until the list of the folder is shared too, and gives its id.
    pub(crate) fn wait_for_folder(&self) -> Result<String, Error> {
        loop {
            let mut line = String::new();
            if self.lines.borrow_mut().read_line(&mut line)? == 0 {
                return Err("cjp2p-serve ended before it shared its folder".into());
            }
            let event: Value = serde_json::from_str(&line)?;
            if let Some(id) = event["id"].as_str().filter(|id| id.starts_with("folder/")) {
                return Ok(id.to_owned());
            }
        }
    }

    /// The ids of the content that most rows fetch.
    fn id(&self, which: usize) -> Result<&str, Error> {
        let ids = self.ids.values().next().ok_or("cjp2p-serve shares nothing")?;
        Ok(&ids[which])
    }

    /// Fetches the content to a file.
    pub(crate) fn get(&self) -> Result<Sample, Error> {
        self.fetch(self.id(0)?, Output::File)
    }

    /// Fetches the content to a file by its SHA-256 id.
    pub(crate) fn get_by_sha256(&self) -> Result<Sample, Error> {
        self.fetch(self.id(1)?, Output::File)
    }

    /// Fetches the content to standard output.
    pub(crate) fn print(&self, output: Output) -> Result<Sample, Error> {
        self.fetch(self.id(0)?, output)
    }

    fn fetch(&self, id: &str, output: Output) -> Result<Sample, Error> {
        let folder = self.bench.folder()?;
        let file = folder.path().join("output");
        let mut command = self.getter(id, folder.path())?;
        let mut reader = None;
        match output {
            Output::File => {
                command.arg("-o").arg(&file).stdout(Stdio::null());
            }
            Output::Null => {
                command.stdout(File::options().write(true).open("/dev/null")?);
            }
            Output::Pipe => {
                let (mut from, to) = std::io::pipe()?;
                command.stdout(to);
                reader = Some(std::thread::spawn(move || {
                    let (mut buffer, mut length) = (vec![0; 1 << 16], 0);
                    loop {
                        match from.read(&mut buffer) {
                            Ok(0) => return Ok(length),
                            Ok(read) => length += read as u64,
                            Err(error) => return Err(error),
                        }
                    }
                }));
            }
        }
        let sample = self.measure(vec![command], folder.path())?;
        if output == Output::File {
            programs::compare(&self.bench.shared()?.join("content"), &file)?;
        }
        if let Some(reader) = reader {
            let length = reader.join().map_err(|_| "a thread panicked")??;
            if length != self.bench.size {
                return Err(format!("{length} bytes came out of the pipe").into());
            }
        }
        Ok(sample)
    }

    /// A command that fetches an id, and has never heard of anything but this server.
    pub(crate) fn getter(&self, id: &str, folder: &Path) -> Result<Command, Error> {
        let mut command = self.bench.programs.command("cjp2p-get", &folder.join("state"))?;
        command.args(["--progress", "never", "--peer", &self.address.to_string(), id]);
        Ok(command)
    }

    /// Runs getters side by side.
    pub(crate) fn measure(&self, getters: Vec<impl Into<Program>>, folder: &Path) -> Result<Sample, Error> {
        let spent = self.server.cpu()?;
        let mut sample = run(self.net, End::Getter, getters, folder)?;
        sample.cpu += self.server.cpu()? - spent;
        self.bench.note_memory(self.server.peak(), sample.peak);
        Ok(sample)
    }
}
