//! The programs of others: which are installed, and how they are run.

use std::cell::OnceCell;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cjp2p_tests::lab::{Error, namespace, programs};

use crate::bench::Bench;
use crate::net::{End, Net};
use crate::process::{Sample, Server, run};

/// The program that moves a torrent.
const TORRENT: &str = include_str!("torrent.py");

/// Where a program may lie beside the folders of `PATH`: users' shells often leave these out.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Why something cannot be measured here: nothing failed, but a program or a right is missing.
#[derive(Clone, Debug)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The programs of others that are installed.
#[derive(Default)]
pub(crate) struct Others {
    python: OnceCell<Option<PathBuf>>,
}

impl Others {
    /// Where a program is.
    ///
    /// # Errors
    ///
    /// Where it is not installed.
    pub(crate) fn find(&self, name: &str) -> Result<PathBuf, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
        let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
        found.ok_or_else(|| Missing(format!("{name} is not installed")).into())
    }

    /// A Python that has libtorrent: the first in the path, or that of the system.
    fn python(&self) -> Result<PathBuf, Error> {
        let has_it = |python: &PathBuf| {
            let asked = Command::new(python).args(["-c", "import libtorrent"]).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let all = || self.find("python3").ok().into_iter().chain([PathBuf::from("/usr/bin/python3")]);
        let found = self.python.get_or_init(|| all().find(has_it));
        found.clone().ok_or_else(|| Missing("no python3 has the module libtorrent".into()).into())
    }

    /// The versions of those that are installed, and which are not.
    pub(crate) fn versions(&self) -> String {
        let ask = |name: &str, argument: &str| {
            let said = self.find(name).ok().and_then(|path| Command::new(path).arg(argument).output().ok());
            let Some(said) = said else {
                return format!("no {name}");
            };
            let text = [said.stdout, said.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            // "nginx version: nginx/1.22.1", "curl 7.88.1 (...)"
            let mut words = text.split_whitespace().filter_map(|word| word.rsplit('/').next());
            let version =
                words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
            format!("{name} {}", version.unwrap_or("of unknown version"))
        };
        let torrent = self.python().ok().and_then(|python| {
            let said = Command::new(python).args(["-c", TORRENT, "version"]).output().ok()?;
            Some(format!("libtorrent {}", String::from_utf8_lossy(&said.stdout).trim()))
        });
        [
            ask("nginx", "-v"),
            ask("curl", "--version"),
            torrent.unwrap_or_else(|| "no libtorrent for Python".into()),
            ask("aria2c", "--version"),
            ask("b3sum", "--version"),
            ask("openssl", "version"),
            ask("sha256sum", "--version"),
        ]
        .join(", ")
    }
}

/// A running nginx, and what fetches from it.
pub(crate) struct Web<'a> {
    bench: &'a Bench,
    net: &'a Net,
    server: Server,
    address: SocketAddr,
    shared: PathBuf,
    // Where it keeps what it needs.
    _folder: tempfile::TempDir,
}

impl<'a> Web<'a> {
    /// Serves the folder that all share by nginx: one process, sendfile, no log.
    pub(crate) fn start(bench: &'a Bench, net: &'a Net) -> Result<Web<'a>, Error> {
        let shared = bench.shared()?;
        let folder = bench.folder()?;
        let address = net.listen(End::Server)?;
        let own = folder.path().display();
        let configuration = format!(
            "daemon off; master_process off; worker_processes 1; pid {own}/pid; error_log {own}/log;\n\
             events {{}}\n\
             http {{\n\
               access_log off; sendfile on; tcp_nopush on;\n\
               client_body_temp_path {own}/1; proxy_temp_path {own}/2; fastcgi_temp_path {own}/3;\n\
               uwsgi_temp_path {own}/4; scgi_temp_path {own}/5;\n\
               server {{ listen {address}; root {}; }}\n\
             }}\n",
            shared.display()
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, configuration)?;
        let mut command = namespace::command(&bench.others.find("nginx")?)?;
        command.arg("-p").arg(folder.path()).arg("-c").arg(path);
        command.stdout(Stdio::null()).stderr(File::create(folder.path().join("stderr"))?);
        let server = Server::new(net.spawn(End::Server, command)?);
        net.wait_for(address)?;
        Ok(Web { bench, net, server, address, shared, _folder: folder })
    }

    /// Fetches by curl.
    pub(crate) fn curl(&self) -> Result<Sample, Error> {
        let mut command = namespace::command(&self.bench.others.find("curl")?)?;
        command.args(["--disable", "--silent", "--show-error", "--fail", "--noproxy", "*", "--output"]);
        self.fetch(|output, url| {
            command.arg(output).arg(url);
            command
        })
    }

    /// Fetches by aria2 over one connection.
    pub(crate) fn aria2(&self) -> Result<Sample, Error> {
        let mut command = namespace::command(&self.bench.others.find("aria2c")?)?;
        command.args(["--no-conf", "--quiet", "--no-proxy=*", "--file-allocation=none"]);
        command.args(["--max-connection-per-server=1", "--split=1"]);
        self.fetch(|output, url| {
            let (folder, name) = (output.parent(), output.file_name());
            command.arg("--dir").arg(folder.unwrap_or(output)).arg("--out").arg(name.unwrap_or_default());
            command.arg(url);
            command
        })
    }

    fn fetch(&self, command: impl FnOnce(&Path, &str) -> Command) -> Result<Sample, Error> {
        let folder = self.bench.folder()?;
        let output = folder.path().join("output");
        let mut command = command(&output, &format!("http://{}/content", self.address));
        command.stdout(Stdio::null());
        let spent = self.server.cpu()?;
        let mut sample = run(self.net, End::Getter, vec![command], folder.path())?;
        sample.cpu += self.server.cpu()? - spent;
        programs::compare(&self.shared.join("content"), &output)?;
        Ok(sample)
    }
}

/// How libtorrent is set up, at both ends.
#[derive(Clone, Copy)]
pub(crate) enum Settings {
    /// As it comes.
    Defaults,
    /// What it has for high performance.
    Tuned,
}

impl Settings {
    /// As the script names it.
    const fn name(self) -> &'static str {
        match self {
            Settings::Defaults => "defaults",
            Settings::Tuned => "tuned",
        }
    }
}

/// A running seed, and what fetches from it.
pub(crate) struct Torrent<'a> {
    bench: &'a Bench,
    net: &'a Net,
    settings: Settings,
    server: Server,
    address: SocketAddr,
    shared: PathBuf,
    // Where the torrent is.
    folder: tempfile::TempDir,
}

impl<'a> Torrent<'a> {
    /// Seeds the content that all share by libtorrent.
    pub(crate) fn start(bench: &'a Bench, net: &'a Net, settings: Settings) -> Result<Torrent<'a>, Error> {
        let python = bench.others.python()?;
        let shared = bench.shared()?;
        let folder = bench.folder()?;
        let torrent = folder.path().join("torrent");
        let mut make = Command::new(&python);
        make.args(["-c", TORRENT, "make"]).arg(shared.join("content")).arg(&torrent);
        if !make.stdout(Stdio::null()).status()?.success() {
            return Err("libtorrent made no torrent".into());
        }
        let address = net.listen(End::Server)?;
        let mut seed = namespace::command(&python)?;
        seed.args(["-c", TORRENT, "seed", settings.name(), &address.to_string()]).arg(&torrent).arg(&shared);
        seed.stdout(Stdio::piped());
        let mut child = net.spawn(End::Server, seed)?;
        let stdout = child.stdout.take();
        let server = Server::new(child);
        let mut line = String::new();
        BufReader::new(stdout.ok_or("no pipe from the seed")?).read_line(&mut line)?;
        if line.trim() != "ready" {
            return Err("libtorrent did not start to seed".into());
        }
        Ok(Torrent { bench, net, settings, server, address, shared, folder })
    }

    /// Fetches by libtorrent. Its own word counts for the time, so that the start of Python does not.
    pub(crate) fn fetch(&self) -> Result<Sample, Error> {
        let folder = self.bench.folder()?;
        let mut get = namespace::command(&self.bench.others.python()?)?;
        get.args(["-c", TORRENT, "get", self.settings.name(), &self.net.listen(End::Getter)?.to_string()]);
        get.arg(self.folder.path().join("torrent")).arg(folder.path());
        get.args([self.address.ip().to_string(), self.address.port().to_string()]);
        get.stdout(File::create(folder.path().join("stdout"))?);
        let spent = self.server.cpu()?;
        let mut sample = run(self.net, End::Getter, vec![get], folder.path())?;
        sample.cpu += self.server.cpu()? - spent;
        sample.seconds = fs::read_to_string(folder.path().join("stdout"))?.trim().parse()?;
        programs::compare(&self.shared.join("content"), &folder.path().join("content"))?;
        Ok(sample)
    }
}
