//! Looking up the names of peers beside all else, by a process of its own that is started before this one is confined.
//!
//! How names are looked up is the system's affair: it may read any file, open any socket, and take half a minute. So it is done
//! in a process that reads nothing that peers send, each name on a thread of its own, and again and again: soon where a name has
//! no address yet, as while the machine starts, and from time to time where it has, since that may change. The process is this
//! program once more, told the names by standard input; it ends when that is closed, and so with the process that started it.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_wire::peers::address::{self, Scope};
use cjp2p_wire::peers::peer::Origin;
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use crate::names::shown;
use crate::peer_name::PeerName;

/// The only argument of the process that looks up names.
pub const ARGUMENT: &str = "--look-up-names";
/// A name without an address is looked up again after this time,
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// and then after twice as long each time, up to this.
const AGAIN_AT_LAST: Duration = Duration::from_secs(60);
/// A name that has one is looked up again after this time.
const REFRESH_AFTER: Duration = Duration::from_secs(300);
/// A tool that needs one address to go on waits for this time for those of other names.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Names that are looked up; each takes a thread.
const MAX_NAMES: usize = 256;
/// Addresses taken of one name.
const MAX_ADDRESSES: usize = 32;
/// The longest line between the two processes, in bytes.
const MAX_LINE: u64 = 16 << 10;

/// What the process says of the name of this number.
#[derive(Serialize, Deserialize)]
struct Answer {
    nth: usize,
    found: Result<Vec<SocketAddr>, String>,
}

/// A name, and what was found.
struct Name {
    name: PeerName,
    origin: Origin,
    addresses: Vec<SocketAddr>,
    /// It was looked up once at least.
    answered: bool,
    /// The last time in vain, and so it was told.
    failed: bool,
}

/// The process, and the ends of what it is told by and tells by.
struct Helper {
    child: Child,
    names: ChildStdin,
    answers: ChildStdout,
}

/// Names that are being looked up, or need not be. See the [module](self).
pub struct Lookup {
    names: Vec<Name>,
    helper: Option<Helper>,
}

impl Lookup {
    /// Begins to look up what is not an address already. To be called before this process is confined: then it may start no
    /// other. Where there can be none, names are looked up here and now, once.
    pub fn start(names: Vec<(PeerName, Origin)>) -> Lookup {
        let mut names: Vec<Name> = names
            .into_iter()
            .map(|(name, origin)| Name {
                name,
                origin,
                addresses: Vec::new(),
                answered: false,
                failed: false,
            })
            .collect();
        for name in names.iter_mut().filter(|name| name.name.is_address()) {
            let found = name.name.resolve();
            name.take(found);
        }
        leave_out_too_many(&mut names);
        let helper = match names.iter().any(|name| !name.answered) {
            true => helper(&names)
                .inspect_err(|error| log::warn!("names are looked up only once, before all else: {error}"))
                .ok(),
            false => None,
        };
        if helper.is_none() {
            for name in names.iter_mut().filter(|name| !name.answered) {
                let found = name.name.resolve();
                name.take(found);
            }
        }
        Lookup { names, helper }
    }

    /// Whether there is no name and no address at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Listens to what is found from now on; `notify` is called, on another thread, whenever something is.
    pub fn watch(self, notify: impl Fn() + Send + 'static) -> Lookups {
        let (sender, answers) = mpsc::channel();
        let mut lookups = Lookups { names: self.names, told: BTreeSet::new(), answers, helper: None };
        if let Some(Helper { child, names, answers }) = self.helper {
            lookups.helper = Some((child, names));
            let listen = move || listen(answers, sender, notify);
            if let Err(error) = thread::Builder::new().name("names".into()).spawn(listen) {
                log::warn!("names are not looked up: {error}");
            }
        }
        lookups
    }
}

impl Name {
    fn take(&mut self, found: Result<Vec<SocketAddr>, String>) {
        self.answered = true;
        match found {
            Ok(addresses) => {
                let usable = |address: &SocketAddr| Scope::of(*address) != Scope::Unusable;
                let addresses = addresses.into_iter().map(address::canonical).filter(usable);
                self.addresses = addresses.take(MAX_ADDRESSES).collect();
                self.failed = false;
            }
            // What it had may still be right: the name service is what has gone.
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) && self.addresses.is_empty() {
                    log::warn!("{}", shown(error));
                }
            }
        }
    }
}

/// Only so many names are looked up.
fn leave_out_too_many(names: &mut [Name]) {
    for name in names.iter_mut().filter(|name| !name.answered).skip(MAX_NAMES) {
        let error = format!("{}: not looked up, as {MAX_NAMES} other names are", name.name);
        name.take(Err(error));
    }
}

/// Starts the process, and tells it the names whose addresses are not known.
fn helper(names: &[Name]) -> io::Result<Helper> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(env::args_os().next().unwrap_or_default()).arg(ARGUMENT).current_dir("/");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (Some(mut told), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    for (nth, name) in names.iter().enumerate().filter(|(_, name)| !name.answered) {
        writeln!(told, "{nth} {}", name.name)?;
    }
    Ok(Helper { child, names: told, answers })
}

/// Passes on what the process says. It has read what a name service sent, so it is not believed to be what it should be.
/// The end of the process is told too.
fn listen(answers: ChildStdout, sender: Sender<Answer>, notify: impl Fn()) {
    let mut lines = BufReader::new(answers);
    let mut next = || {
        let mut line = Vec::new();
        lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice::<Answer>(&line).ok()
    };
    while let Some(answer) = next() {
        if sender.send(answer).is_err() {
            return;
        }
        notify();
    }
    log::info!("the process that looks up names has ended");
    drop(sender);
    notify();
}

/// What names stand for, as far as that was found. See the [module](self).
pub struct Lookups {
    names: Vec<Name>,
    /// What [`Lookups::news`] gave.
    told: BTreeSet<SocketAddr>,
    answers: Receiver<Answer>,
    /// Its standard input is closed when this is dropped, and so it ends.
    helper: Option<(Child, ChildStdin)>,
}

impl Lookups {
    /// Nobody.
    pub fn none() -> Lookups {
        Lookup::start(Vec::new()).watch(|| ())
    }

    /// All addresses that the names have now, and how each came to be named: the first reason counts.
    pub fn addresses(&self) -> impl Iterator<Item = (SocketAddr, &Origin)> {
        let mut seen = BTreeSet::new();
        let all = self.names.iter();
        let all = all.flat_map(|name| name.addresses.iter().map(|address| (*address, &name.origin)));
        all.filter(move |(address, _)| seen.insert(*address))
    }

    /// The addresses that were found since the last time, at first all.
    pub fn news(&mut self) -> Vec<(SocketAddr, Origin)> {
        loop {
            match self.answers.try_recv() {
                Ok(answer) => self.take(answer),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.end_helper();
                    break;
                }
            }
        }
        let new = self.addresses().filter(|(address, _)| !self.told.contains(address));
        let new: Vec<(SocketAddr, Origin)> = new.map(|(address, origin)| (address, origin.clone())).collect();
        self.told.extend(new.iter().map(|(address, _)| *address));
        new
    }

    /// Whether some name was not looked up even once yet.
    pub fn is_pending(&self) -> bool {
        self.helper.is_some() && self.names.iter().any(|name| !name.answered)
    }

    /// Whether some name has no address, and is looked up again.
    pub fn may_find_more(&self) -> bool {
        self.helper.is_some() && self.names.iter().any(|name| name.addresses.is_empty())
    }

    /// Whether the user named anybody, found or not.
    pub fn has_named(&self) -> bool {
        self.names.iter().any(|name| name.origin == Origin::CommandLine)
    }

    /// Waits until every name was looked up, some seconds at the most, and then until one of them has an address. Gives them all:
    /// none only where there are no names, or they are not looked up any more.
    pub fn wait_for_addresses(&mut self) -> Vec<SocketAddr> {
        let until = Instant::now() + TIMEOUT;
        loop {
            let found: Vec<SocketAddr> = self.addresses().map(|(address, _)| address).collect();
            let left = until.saturating_duration_since(Instant::now());
            if !self.may_find_more() || (!found.is_empty() && (!self.is_pending() || left.is_zero())) {
                return found;
            }
            let wait = if found.is_empty() { AGAIN_AT_LAST } else { left };
            match self.answers.recv_timeout(wait) {
                Ok(answer) => self.take(answer),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return found,
            }
        }
    }

    /// Nothing is looked up any more.
    fn end_helper(&mut self) {
        if let Some((mut child, names)) = self.helper.take() {
            drop(names);
            // It ends at once, and is not waited for.
            let _ = child.try_wait();
        }
    }

    fn take(&mut self, answer: Answer) {
        if let Some(name) = self.names.get_mut(answer.nth) {
            name.take(answer.found);
        }
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.end_helper();
    }
}

/// Is the process that looks up names, until standard input is closed.
pub fn run() {
    // Signals meant for the tool come here too, from a terminal for one. The end is when the tool has ended.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let _ = signals.thread_block();
    let mut lines = BufReader::new(io::stdin().lock());
    loop {
        let mut line = String::new();
        match lines.by_ref().take(MAX_LINE).read_line(&mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let named = line.trim_end().split_once(' ');
        let Some((nth, name)) = named.and_then(|(nth, name)| Some((nth.parse().ok()?, name.parse().ok()?)))
        else {
            return;
        };
        if let Err(error) = thread::Builder::new().spawn(move || look_up(nth, &name)) {
            tell(nth, &Err(format!("names are not looked up: {error}")));
        }
    }
}

/// Looks up one name, again and again.
fn look_up(nth: usize, name: &PeerName) {
    let mut told = None;
    let mut again = AGAIN_AFTER;
    loop {
        let mut found = name.resolve();
        if let Ok(addresses) = &mut found {
            addresses.sort();
            addresses.truncate(MAX_ADDRESSES);
        }
        if told.as_ref() != Some(&found) {
            tell(nth, &found);
        }
        let pause = if found.is_ok() { REFRESH_AFTER } else { again };
        again = if found.is_ok() { AGAIN_AFTER } else { (again * 2).min(AGAIN_AT_LAST) };
        told = Some(found);
        thread::sleep(pause);
    }
}

fn tell(nth: usize, found: &Result<Vec<SocketAddr>, String>) {
    if let Ok(line) = serde_json::to_string(&Answer { nth, found: found.clone() }) {
        // Should nobody listen any more, the end is near.
        let _ = writeln!(io::stdout(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> (PeerName, Origin) {
        (text.parse().unwrap(), Origin::CommandLine)
    }

    #[test]
    fn addresses_need_no_process_and_are_known_at_once() {
        let lookup = Lookup::start(vec![name("192.0.2.1"), name("[2001:db8::1]:5"), name("192.0.2.1:24254")]);
        assert!(lookup.helper.is_none());
        let mut lookups = lookup.watch(|| ());
        assert!(!lookups.is_pending() && !lookups.may_find_more() && lookups.has_named());
        let found: Vec<SocketAddr> = lookups.news().into_iter().map(|(address, _)| address).collect();
        assert_eq!(found, ["192.0.2.1:24254".parse().unwrap(), "[2001:db8::1]:5".parse().unwrap()]);
        assert!(lookups.news().is_empty(), "told twice");
        assert_eq!(lookups.wait_for_addresses(), found);
    }

    fn unknown(text: &str) -> Name {
        let (name, origin) = name(text);
        Name { name, origin, addresses: Vec::new(), answered: false, failed: false }
    }

    #[test]
    fn nobody_waits_for_a_process_that_has_ended() {
        let mut child = Command::new("true").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (names, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let lookup =
            Lookup { names: vec![unknown("peer.example")], helper: Some(Helper { child, names, answers }) };
        let (woken, wakes) = mpsc::channel();
        let mut lookups = lookup.watch(move || woken.send(()).unwrap_or_default());
        assert!(lookups.is_pending());
        wakes.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(lookups.news().is_empty());
        assert!(!lookups.is_pending() && !lookups.may_find_more());
    }

    #[test]
    fn nobody_waits_for_names_that_are_too_many_to_be_looked_up() {
        let mut names: Vec<Name> = (0..MAX_NAMES + 2).map(|n| unknown(&format!("n{n}.example"))).collect();
        names[0].answered = true;
        leave_out_too_many(&mut names);
        let pending = names.iter().filter(|name| !name.answered).count();
        assert_eq!((pending, names.last().unwrap().failed), (MAX_NAMES, true));
    }

    #[test]
    fn what_a_name_stood_for_stays_until_it_stands_for_something_else() {
        let mut lookups = Lookups::none();
        lookups.names.push(unknown("peer.example"));
        let mut take = |found: Result<&[&str], &str>| {
            let found = found.map(|found| found.iter().map(|one| one.parse().unwrap()).collect());
            lookups.take(Answer { nth: 0, found: found.map_err(str::to_owned) });
            let news: Vec<String> = lookups.news().iter().map(|(address, _)| address.to_string()).collect();
            let all: Vec<String> = lookups.addresses().map(|(address, _)| address.to_string()).collect();
            (news, all)
        };
        assert_eq!(take(Err("not known")), (vec![], vec![]));
        let (first, other) = ("192.0.2.1:5".to_owned(), "192.0.2.2:5".to_owned());
        // Nobody can be at the second.
        assert_eq!(take(Ok(&["192.0.2.1:5", "224.0.0.1:5"])), (vec![first.clone()], vec![first.clone()]));
        assert_eq!(take(Err("not known")), (vec![], vec![first]));
        assert_eq!(take(Ok(&["192.0.2.2:5"])), (vec![other.clone()], vec![other]));
        // Of a name that nobody asked for.
        lookups.take(Answer { nth: 7, found: Ok(vec!["192.0.2.3:5".parse().unwrap()]) });
        assert!(lookups.news().is_empty());
    }
}
