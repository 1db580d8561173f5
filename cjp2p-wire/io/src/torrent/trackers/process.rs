//! The process that asks trackers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_torrent::tracker::{Answer, TrackerError};
use nix::sys::signal::{SigSet, Signal};

use super::line::{MAX_LINE, Question, Reply};
use super::{http, udp};
use crate::sandbox::Sandbox;
use crate::workers::{Crew, Workers};

/// Trackers that are asked at a time.
const THREADS: usize = 8;
/// Good-byes are waited for so long.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Is the process that asks trackers, until standard input is closed.
pub fn run() {
    // Signals meant for the tool come here too, from a terminal for one. The end is when the tool has ended.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let _ = signals.thread_block();
    // What names are looked up by, and nothing of the user's.
    let sandbox = ["/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"]
        .into_iter()
        .chain(["/lib", "/lib64", "/usr/lib", "/usr/lib64"])
        .fold(Sandbox::new(), Sandbox::read);
    let _ = sandbox.connect_tcp().confine();

    let (open, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let crew = Crew { name: "tracker", threads: THREADS, most_for_hosts: 0, is_nice: false };
    let (still_open, has_ended) = (open.clone(), ends.clone());
    let workers: Workers<Question> = Workers::on_demand(crew, move |question: Question| {
        if question.is_last_word() || !has_ended.load(Ordering::Relaxed) {
            tell(&Reply::new(question.nth, ask(&question)));
        }
        still_open.fetch_sub(1, Ordering::Relaxed);
    });
    let mut lines = BufReader::new(io::stdin().lock());
    loop {
        let mut line = Vec::new();
        match lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
        let Ok(question) = serde_json::from_slice::<Question>(&line) else { break };
        open.fetch_add(1, Ordering::Relaxed);
        workers.send(question);
    }
    ends.store(true, Ordering::Relaxed);
    let until = Instant::now() + GOODBYE_TIMEOUT;
    while open.load(Ordering::Relaxed) > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
}

fn ask(question: &Question) -> Result<Answer, TrackerError> {
    let scheme = question.url.split("://").next().unwrap_or_default().to_ascii_lowercase();
    match scheme.as_str() {
        "http" => http::ask(&question.url, &question.announce(), question.may_be_private),
        "udp" => udp::ask(&question.url, &question.announce(), question.may_be_private),
        _ => Err(TrackerError::Unreachable("only http and udp are asked".to_string())),
    }
}

/// One line, at once.
fn tell(reply: &Reply) {
    let Ok(mut line) = serde_json::to_vec(reply) else { return };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
