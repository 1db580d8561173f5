//! The gateway: from a peer and from its cache to curl, beside nginx to curl and what fetches by itself.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use cjp2p_tests::lab::{Error, namespace, programs};
use cjp2p_tests::table::Mark;

use crate::bench::{Bench, processor_time, rates};
use crate::net::{End, Net};
use crate::others::Web;
use crate::ours::Serve;
use crate::process::{Sample, Server, run};
use crate::report::Line;

const RATE: &str = "MB/s";
const CPU: &str = "CPU seconds of all programs per GiB";

/// A running cjp2p-http, at the end of the getter.
struct Gateway<'a> {
    bench: &'a Bench,
    net: &'a Net,
    server: Server,
    address: SocketAddr,
    // Where its cache is.
    _folder: tempfile::TempDir,
}

impl<'a> Gateway<'a> {
    /// One with an empty cache, that has heard of nobody but this peer.
    fn start(bench: &'a Bench, net: &'a Net, peer: SocketAddr) -> Result<Gateway<'a>, Error> {
        let folder = bench.folder()?;
        let address = net.listen(End::Getter)?;
        let mut command = bench.programs.command("cjp2p-http", &folder.path().join("state"))?;
        command.args(["-qq", "--listen", &address.to_string(), "--peer", &peer.to_string(), "--cache", "1T"]);
        command.arg("--cache-dir").arg(folder.path().join("cache")).stdout(Stdio::null());
        let server = Server::new(net.spawn(End::Getter, command)?);
        net.wait_for(address)?;
        Ok(Gateway { bench, net, server, address, _folder: folder })
    }

    /// Fetches by curl. The processor time of the gateway counts.
    fn curl(&self, id: &str) -> Result<Sample, Error> {
        let folder = self.bench.folder()?;
        let output = folder.path().join("output");
        let mut command: Command = namespace::command(&self.bench.others.find("curl")?)?;
        command.args(["--disable", "--silent", "--show-error", "--fail", "--noproxy", "*", "--output"]);
        command.arg(&output).arg(format!("http://{}/{id}", self.address)).stdout(Stdio::null());
        let spent = self.server.cpu()?;
        let mut sample = run(self.net, End::Getter, vec![command], folder.path())?;
        sample.cpu += self.server.cpu()? - spent;
        self.bench.note_memory(0, self.server.peak());
        programs::compare(&self.bench.shared()?.join("content"), &output)?;
        Ok(sample)
    }
}

/// What the content is called, as cjp2p-serve says.
fn content_id(serve: &Serve<'_>) -> Result<String, Error> {
    let ids = serve.ids.values().next().ok_or("cjp2p-serve shares nothing")?;
    Ok(ids[0].clone())
}

/// From the cache to curl over loopback, beside nginx.
pub(crate) fn cached(bench: &Bench) -> Result<Vec<Line>, Error> {
    let net = &bench.loopback;
    let web = Web::start(bench, net)?;
    let serve = Serve::of_shared(bench, net)?;
    let id = content_id(&serve)?;
    let gateway = Gateway::start(bench, net, serve.address)?;
    // The first time does not count, and fills the cache.
    let [ours, other] = bench.in_turn([&mut || gateway.curl(&id), &mut || web.curl()])?;
    Ok(vec![
        rates(RATE, Mark::AtLeast(0.8), bench.size, &ours, &other),
        processor_time(CPU, Mark::None, bench.size, &ours, &other),
    ])
}

/// From a peer through the gateway to curl, beside what fetches by itself, and nginx to curl.
pub(crate) fn fetched(bench: &Bench) -> Result<Vec<Line>, Error> {
    let net = bench.veth()?;
    let web = Web::start(bench, net)?;
    let serve = Serve::of_shared(bench, net)?;
    let id = content_id(&serve)?;
    let mut through = || {
        let gateway = Gateway::start(bench, net, serve.address)?;
        let spent = serve.server.cpu()?;
        let mut sample = gateway.curl(&id)?;
        sample.cpu += serve.server.cpu()? - spent;
        Ok(sample)
    };
    let [ours, get, curl] = bench.in_turn([&mut through, &mut || serve.get(), &mut || web.curl()])?;
    let both: Vec<Sample> =
        get.iter().zip(&curl).map(|(get, curl)| Sample { cpu: get.cpu + curl.cpu, ..*get }).collect();
    Ok(vec![
        rates(RATE, Mark::AtLeast(0.55), bench.size, &ours, &get),
        processor_time(
            "CPU seconds of all programs per GiB; get -o and nginx to curl together",
            Mark::AtMost(1.0),
            bench.size,
            &ours,
            &both,
        ),
    ])
}
