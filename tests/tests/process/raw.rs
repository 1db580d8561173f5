//! Raw content between the real programs, seen by a relay between them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cjp2p_tests::content;
use cjp2p_tests::real::bench::Bench;
use cjp2p_tests::real::host::Host;
use cjp2p_tests::real::tool;
use cjp2p_tests::sim::{HostBehaviour, Outbox};
use cjp2p_wire::datagram;
use cjp2p_wire::message::Message;
use cjp2p_wire::time::Time;

/// Bytes of content that passed.
#[derive(Clone, Copy, Default)]
struct Passed {
    raw: u64,
    json: u64,
}

/// Passes on what a server and one getter send each other.
struct Relay {
    server: SocketAddr,
    getter: Option<SocketAddr>,
    passed: Arc<Mutex<Passed>>,
}

impl HostBehaviour for Relay {
    fn handle_datagram(&mut self, _: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        {
            let mut passed = self.passed.lock().expect("nobody panics with it");
            for message in datagram::decode(bytes).unwrap_or_default() {
                match message {
                    Message::BytesFollow(block) => passed.raw += block.length,
                    Message::Content(block) => passed.json += block.data.len() as u64,
                    _ => {}
                }
            }
        }
        if from != self.server {
            self.getter = Some(from);
        }
        let to = if from == self.server { self.getter } else { Some(self.server) };
        out.extend(to.map(|to| (to, bytes.to_vec())));
    }
}

#[test]
fn content_crosses_raw_between_the_programs_or_as_json_where_either_is_told_so() {
    let bench = Bench::new();
    let bytes = content::bytes(21, 3_000_000);
    bench.share("file", &bytes);
    for (serve, get, environment) in [
        (&[][..], &[][..], None),
        (&["--no-raw"][..], &[][..], None),
        (&[][..], &["--no-raw"][..], None),
        (&[][..], &[][..], Some("1")),
    ] {
        let server = bench.serve(serve);
        let id = server.ids("file")[0].clone();
        let passed = Arc::new(Mutex::new(Passed::default()));
        let (address, counts) = (server.address, passed.clone());
        let relay = Host::start(move || Relay { server: address, getter: None, passed: counts });
        let run = |place: &[&str]| {
            *passed.lock().unwrap() = Passed::default();
            let mut command = tool("cjp2p-get", &bench.path("get-state"));
            command
                .args(["--quiet", "--only-peer", &relay.address.to_string()])
                .args(get)
                .args(place)
                .arg(&id);
            if let Some(value) = environment {
                command.env("CJP2P_NO_RAW", value);
            }
            let output = command.current_dir(bench.folder()).output().expect("cjp2p-get runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let Passed { raw, json } = *passed.lock().unwrap();
            let what = format!("{serve:?} {get:?} {environment:?} {place:?}: {raw} raw, {json} in JSON");
            let (most, other) =
                if serve.len() + get.len() == 0 && environment.is_none() { (raw, json) } else { (json, raw) };
            // What comes first says who they are, and is JSON.
            assert!(most > 2_700_000 && other < 300_000, "{what}");
            assert!(most == json || json > 0, "{what}");
            assert!(most == raw || raw == 0, "{what}");
            output.stdout
        };
        assert!(run(&[]) == bytes, "standard output");
        assert!(run(&["-o", "copy", "--force"]).is_empty());
        assert!(std::fs::read(bench.path("copy")).expect("the copy") == bytes);
    }
}
