//! A folder of many small files: cjp2p-get beside rsync from its daemon.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cjp2p_tests::content;
use cjp2p_tests::lab::{Error, namespace};
use cjp2p_tests::table::Mark;

use crate::bench::{Bench, MIB};
use crate::net::{End, Net};
use crate::ours::Serve;
use crate::process::{Sample, Server, run};
use crate::report::Line;

/// The length of each file, in bytes.
const LENGTH: usize = 1024;
/// How many files lie in one folder.
const FILES_IN_A_FOLDER: usize = 1000;
/// The most memory that a getter of a folder may have resident, in MiB.
const MOST_GETTER: f64 = 64.0;
/// And a server, in MiB, beside so many bytes for each file.
const MOST_SERVER: f64 = 48.0;
const BYTES_A_FILE: u64 = 100;

/// Many small files of random bytes, recreated by `cjp2p-get folder/...` and by `rsync -a`.
pub(crate) fn small(bench: &Bench) -> Result<Vec<Line>, Error> {
    let net = bench.veth()?;
    let folder = bench.folder()?;
    let [shared, state] = ["shared", "state"].map(|name| folder.path().join(name));
    let all = content::bytes(1, LENGTH * bench.files);
    for (n, bytes) in all.chunks(LENGTH).enumerate() {
        let part = shared.join((n / FILES_IN_A_FOLDER).to_string());
        if n % FILES_IN_A_FOLDER == 0 {
            fs::create_dir_all(&part)?;
        }
        fs::write(part.join(n.to_string()), bytes)?;
    }
    let serve = Serve::start(bench, net, &shared, &state)?;
    let id = serve.wait_for_folder()?;
    let daemon = Daemon::start(bench, net, &shared)?;
    let [ours, other] = bench.in_turn([
        &mut || {
            let own = bench.folder()?;
            let mut command = serve.getter(&id, own.path())?;
            command.arg("-o").arg(own.path().join("output")).stdout(Stdio::null());
            let spent = serve.server.cpu()?;
            let mut sample = run(net, End::Getter, vec![command], own.path())?;
            sample.cpu += serve.server.cpu()? - spent;
            same(&shared, &own.path().join("output"))?;
            Ok(sample)
        },
        &mut || daemon.fetch(),
    ])?;
    let files = bench.files as f64;
    let rate = |samples: &[Sample]| samples.iter().map(|sample| files / sample.seconds).collect();
    let cpu = |samples: &[Sample]| samples.iter().map(|sample| sample.cpu / files * 1e6).collect();
    let memory = |bytes: u64| bytes as f64 / MIB as f64;
    let server = memory(serve.server.peak());
    let most = MOST_SERVER + memory(bench.files as u64 * BYTES_A_FILE);
    Ok(vec![
        Line::ratio("files per second", Mark::AtLeast(0.5), rate(&ours), rate(&other)),
        Line::ratio("CPU microseconds of both ends per file", Mark::None, cpu(&ours), cpu(&other)),
        Line::ours(
            "peak MiB resident of cjp2p-get",
            Mark::AtMost(MOST_GETTER),
            ours.iter().map(|sample| memory(sample.peak)).collect(),
            Vec::new(),
        ),
        Line::ours("peak MiB resident of cjp2p-serve", Mark::AtMost(most), vec![server], Vec::new()),
    ])
}

/// Checks that two folders are the same.
fn same(one: &Path, other: &Path) -> Result<(), Error> {
    let mut diff = Command::new("diff");
    let said = diff.args(["-rq", "--no-dereference"]).arg(one).arg(other).output()?;
    if said.status.success() {
        return Ok(());
    }
    let first = String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned();
    Err(format!("the folder is not what was shared: {first}").into())
}

/// A running rsync daemon, and what fetches from it.
struct Daemon<'a> {
    bench: &'a Bench,
    net: &'a Net,
    server: Server,
    url: String,
    shared: PathBuf,
    // Where its configuration is.
    _folder: tempfile::TempDir,
}

impl<'a> Daemon<'a> {
    fn start(bench: &'a Bench, net: &'a Net, shared: &Path) -> Result<Daemon<'a>, Error> {
        let address = net.listen(End::Server)?;
        let folder = bench.folder()?;
        let configuration = folder.path().join("rsyncd.conf");
        // As whom it reads does not matter to what is measured, but root reads what root wrote.
        let text = format!(
            "pid file = {own}/pid\nlog file = {own}/log\nuse chroot = no\n[shared]\npath = {shared}\nuid = root\ngid = root\n",
            own = folder.path().display(),
            shared = shared.display()
        );
        fs::write(&configuration, text)?;
        let mut command = namespace::command(&bench.others.find("rsync")?)?;
        command.args(["--daemon", "--no-detach", "--address", &address.ip().to_string()]);
        command.args(["--port", &address.port().to_string(), "--config"]).arg(&configuration);
        command.stdout(Stdio::null()).stderr(File::create(folder.path().join("stderr"))?);
        let server = Server::new(net.spawn(End::Server, command)?);
        net.wait_for(address)?;
        let url = format!("rsync://{address}/shared/");
        Ok(Daemon { bench, net, server, url, shared: shared.to_path_buf(), _folder: folder })
    }

    /// Fetches all of it. The daemon serves each connection by a process of its own, so its processor time is that of its children
    /// that have ended.
    fn fetch(&self) -> Result<Sample, Error> {
        let folder = self.bench.folder()?;
        let output = folder.path().join("output");
        let mut command = namespace::command(&self.bench.others.find("rsync")?)?;
        command.arg("-a").arg(&self.url).arg(&output).stdout(Stdio::null());
        let spent = self.server.cpu_with_ended()?;
        let mut sample = run(self.net, End::Getter, vec![command], folder.path())?;
        sample.cpu += self.server.cpu_with_ended()? - spent;
        same(&self.shared, &output)?;
        Ok(sample)
    }
}
