//! How the programs of others are run.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cjp2p_tests::lab::{Error, namespace, programs};

use crate::bench::Bench;
use crate::installed::TORRENT;
use crate::net::{End, Net};
use crate::process::{Sample, Server, run};

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
