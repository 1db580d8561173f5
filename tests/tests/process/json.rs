//! The JSON of all tools, held against `docs/json.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

use cjp2p_tests::content;
use cjp2p_tests::lab::scratch::in_memory;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::tool;
use cjp2p_wire::folder::{Entry, FolderPath, Kind, Mtime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// What the page says of one kind of object.
#[derive(Default)]
struct Object {
    always: BTreeSet<String>,
    or_null: BTreeSet<String>,
    optional: BTreeSet<String>,
}

/// The page, and which of its objects and fields were seen.
pub(crate) struct Page {
    types: BTreeMap<String, String>,
    objects: BTreeMap<String, Object>,
    seen: BTreeSet<String>,
    seen_fields: BTreeSet<String>,
}

/// The cells of the rows of the table below a heading, without the table's head.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let below = text.split(heading).nth(1).expect("the heading is there").trim_start();
    let table = below.lines().take_while(|line| line.starts_with('|')).skip(2);
    table.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

impl Page {
    pub(crate) fn read() -> Page {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md");
        let text = fs::read_to_string(path).expect("the page can be read");
        let fields = rows(&text, "## Fields\n");
        let types = fields.iter().map(|row| (row[0].replace('`', ""), row[1].to_owned())).collect();
        let objects = rows(&text, "## Objects\n").into_iter().map(|row| {
            let [always, or_null, optional] = [row[1], row[2], row[3]].map(names);
            (row[0].replace('`', ""), Object { always, or_null, optional })
        });
        let objects = objects.collect();
        Page { types, objects, seen: BTreeSet::new(), seen_fields: BTreeSet::new() }
    }

    /// Holds an object against what the page says of this kind.
    pub(crate) fn check(&mut self, kind: &str, value: &Value) {
        let object =
            self.objects.get(kind).unwrap_or_else(|| panic!("no object {kind:?} on the page: {value}"));
        let fields = value.as_object().unwrap_or_else(|| panic!("{kind}: {value}"));
        for (name, value) in fields {
            let may_be_null = object.or_null.contains(name);
            let is_listed = may_be_null || object.always.contains(name) || object.optional.contains(name);
            assert!(is_listed, "{kind} has a field that the page lacks: {name}");
            let is_right = match (self.types.get(name).map_or("none", String::as_str), value) {
                (_, Value::Null) => may_be_null,
                ("text", value) => value.is_string(),
                ("integer", value) => value.is_u64(),
                ("number", value) => value.is_number(),
                ("boolean", value) => value.is_boolean(),
                ("list", value) => value.is_array(),
                _ => false,
            };
            assert!(is_right, "{kind}: {name} is {value}");
            self.seen_fields.insert(name.clone());
        }
        for name in object.always.union(&object.or_null) {
            assert!(fields.contains_key(name), "{kind} lacks {name}: {value}");
        }
        self.seen.insert(kind.to_owned());
    }

    /// The same for what a tool printed, where `event` says of which kind each line is.
    pub(crate) fn check_events(&mut self, command: &str, lines: &[u8]) -> usize {
        let lines = values(lines);
        for line in &lines {
            self.check(&format!("{command}, {}", line["event"].as_str().expect("an event")), line);
        }
        lines.len()
    }

    fn check_all(&mut self, kind: &str, lines: &[u8]) {
        let lines = values(lines);
        assert!(!lines.is_empty(), "{kind}: nothing was printed");
        lines.iter().for_each(|line| self.check(kind, line));
    }
}

fn values(lines: &[u8]) -> Vec<Value> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{"));
    lines.map(|line| serde_json::from_slice(line).expect("a JSON object")).collect()
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Bench {
        let folder = in_memory().expect("a folder");
        for name in ["share", "serve", "get", "peers"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        Bench(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a tool, which keeps its state in the folder of this name.
    fn run(&self, name: &str, state: &str, arguments: &[&str]) -> Output {
        let mut command = tool(name, &self.path(state));
        command.args(arguments).current_dir(self.0.path()).output().expect("the tool runs")
    }
}

/// What the tools print of torrents.
fn check_torrents(bench: &Bench, page: &mut Page) {
    for folder in ["seeds", "seeds/album", "seed"] {
        fs::create_dir(bench.path(folder)).expect("a folder");
    }
    fs::write(bench.path("seeds/album/song"), content::bytes(3, 100_000)).expect("a file");
    let hash = |arguments: &[&str]| bench.run("cjp2p-hash", "get", arguments);
    assert!(hash(&["--write-torrent", "album.torrent", "seeds/album"]).status.success());
    let printed = hash(&["--magnet", "--json", "album.torrent"]).stdout;
    page.check_all("cjp2p-hash --magnet --json, a torrent", &printed);
    let torrent = bench.path("album.torrent");
    let torrent = torrent.to_str().expect("a path");
    let mut seed = Server::start(&bench.path("seeds"), &bench.path("seed"), &["--torrent", torrent]);
    if !seed.events.iter().any(|event| event["event"] == "torrent") {
        seed.wait_for("torrent");
    }
    for event in
        seed.events.iter().filter(|event| event["event"] == "torrent" || event["event"] == "listening")
    {
        page.check(&format!("cjp2p-serve --json, {}", event["event"].as_str().expect("an event")), event);
    }
    let address = seed.events.iter().find_map(|event| event["torrent_address"].as_str());
    let peer = format!("bt:{}", address.expect("an address"));
    let get = |arguments: &[&str]| {
        bench.run("cjp2p-get", "get", &[&["--peer", &*peer], arguments, &["album.torrent"]].concat())
    };
    page.check_all("cjp2p-get --list --json, a file of a torrent", &get(&["--list", "--json"]).stdout);
    let done = get(&["--json", "-o", "torrent"]).stdout;
    let done = values(&done).pop().expect("an event");
    page.check("cjp2p-get --json, complete of a torrent", &done);
}

#[test]
fn the_json_of_all_tools_is_what_the_page_says() {
    let mut page = Page::read();
    let bench = Bench::new();
    fs::write(bench.path("share/a"), content::bytes(1, 100_000)).expect("a file");
    let other = bench.path("share").join(OsStr::from_bytes(b"\xff"));
    fs::write(&other, "b").expect("a file");

    let hash = |arguments: &[&str]| bench.run("cjp2p-hash", "get", arguments);
    let hashed =
        hash(&["-r", "--algorithm", "all", "--json", "--tree", "trees", "--progress", "json", "share"]);
    page.check_all("cjp2p-hash --json, a file", &hashed.stdout);
    let list = hash(&["-r", "share"]).stdout;
    fs::write(bench.path("list"), list).expect("a file");
    page.check_all("cjp2p-hash --check --json, a line", &hash(&["--check", "--json", "list"]).stdout);

    fs::create_dir_all(bench.path("tree/\u{e9}")).expect("a folder");
    fs::write(bench.path("tree").join(OsStr::from_bytes(b"\xfe")), "c").expect("a file");
    fs::write(bench.path("tree/run"), "#!").expect("a file");
    fs::set_permissions(bench.path("tree/run"), fs::Permissions::from_mode(0o755)).expect("permissions");
    symlink(OsStr::from_bytes(b"\xff"), bench.path("tree/link")).expect("a link");
    let entries = values(&hash(&["--folder", "--times", "--json", "tree"]).stdout);
    let (folder, entries) = entries.split_last().expect("the folder itself");
    page.check("cjp2p-hash --folder --json, the folder", folder);
    assert_eq!(entries.len(), 4);
    entries.iter().for_each(|entry| page.check("cjp2p-hash --folder --json, an entry", entry));

    // The list of a folder with what is shared, and with links.
    let mtime = Mtime::new(-1, 5_000_000);
    let entry = |path: &[u8], kind| Entry { path: FolderPath::new(path).expect("a path"), kind, mtime };
    let mut folder_list = Vec::new();
    let root = *blake3::hash(&content::bytes(1, 100_000)).as_bytes();
    entry(b"a", Kind::File { length: 100_000, root, exec: true }).write(&mut folder_list);
    entry(b"l", Kind::Link { target: b"\xff".to_vec() }).write(&mut folder_list);
    entry(b"out", Kind::Link { target: b"../x".to_vec() }).write(&mut folder_list);
    entry(b"\xfe", Kind::Folder { list: None }).write(&mut folder_list);
    fs::write(bench.path("share/list"), &folder_list).expect("a file");
    let folder = format!("folder/{}", blake3::hash(&folder_list).to_hex());

    let dry = bench.run("cjp2p-serve", "serve", &["--dry-run", "--json", "share"]);
    assert_eq!(page.check_events("cjp2p-serve --dry-run --json", &dry.stdout), 3);
    let mut server = Server::start(&bench.path("share"), &bench.path("serve"), &[]);
    let peer = server.address.to_string();
    let [id, _] = server.ids("a");
    server.wait_for("published");

    let get = |arguments: &[&str]| bench.run("cjp2p-get", "get", &[&["--peer", &*peer], arguments].concat());
    let fetched = get(&["--json", "--progress", "json", "--range", "0-9", "-o", "range", &id]);
    page.check_events("cjp2p-get --json", &fetched.stdout);
    assert!(page.check_events("--progress json", &fetched.stderr) > 0);
    page.check_events("cjp2p-get --json", &get(&["--json", "-o", "whole", &id]).stdout);
    let absent = format!("blake3/{}", "0".repeat(64));
    page.check_events("cjp2p-get --json", &get(&["--json", "--timeout", "1s", "-o", "none", &absent]).stdout);
    let locked = File::create(bench.path("locked.cjp2p-part")).expect("a file");
    locked.lock().expect("a lock");
    page.check_events("cjp2p-get --json", &get(&["--json", "--lock", "skip", "-o", "locked", &id]).stdout);

    page.check_all("cjp2p-get --list --json, an entry", &get(&["--list", "--json", &folder]).stdout);
    let dry = get(&["--dry-run", "--json", "-o", "got", "--links", "any", &folder]);
    page.check_events("cjp2p-get --dry-run --json", &dry.stdout);
    assert_eq!(page.check_events("cjp2p-get --json", &get(&["--json", "-o", "got", &folder]).stdout), 2);

    let peers = |arguments: &[&str]| bench.run("cjp2p-peers", "peers", arguments).stdout;
    peers(&["add", "127.0.0.1:9"]);
    page.check_all("cjp2p-peers ping, a peer", &peers(&["ping", "--json", &peer]));
    page.check_all("cjp2p-peers discover, a peer", &peers(&["discover", "--for", "3s", "--json", &peer]));
    page.check_all("cjp2p-peers find, a peer", &peers(&["find", "--for", "5s", &id, &peer]));
    page.check_all("cjp2p-peers content, an entry", &peers(&["content", "--json", &peer]));
    page.check_all("cjp2p-peers, a peer", &peers(&["--json"]));
    page.check_all("cjp2p-peers, a peer", &bench.run("cjp2p-peers", "get", &["--json"]).stdout);

    let status = bench.run("cjp2p-serve", "serve", &["--status", "--json"]);
    page.check_all("cjp2p-serve --status --json, a server", &status.stdout);

    fs::write(bench.path("share/a"), "changed").expect("a file");
    server.wait_for("changed");
    // The one that changed may not be shared again yet, and would go without a word.
    fs::remove_file(other).expect("a file");
    server.wait_for("withdrawn");
    kill(Pid::from_raw(server.pid().cast_signed()), Signal::SIGTERM).expect("it runs");
    // At the end only if something was served since the last time.
    if !server.events.iter().any(|event| event["event"] == "served") {
        server.wait_for("served");
    }
    for event in &server.events {
        page.check(&format!("cjp2p-serve --json, {}", event["event"].as_str().expect("an event")), event);
    }

    let mut named = Server::start(&bench.path("whole"), &bench.path("serve"), &["--name", "whole"]);
    page.check("cjp2p-serve --json, named", &named.wait_for("named"));

    check_torrents(&bench, &mut page);
    crate::streams::check_json(&mut page);
    // A test of streams sees this one.
    page.seen.insert("cjp2p-get --json, late".into());

    // Tests of the router see this one.
    page.seen.insert("cjp2p-serve --json, mapped".into());
    page.seen_fields.extend(["external_address", "port"].map(str::to_owned));
    let objects: Vec<_> = page.objects.keys().filter(|kind| !page.seen.contains(*kind)).collect();
    assert!(objects.is_empty(), "no tool printed {objects:?}");
    let fields: Vec<_> = page.types.keys().filter(|name| !page.seen_fields.contains(*name)).collect();
    assert!(fields.is_empty(), "no tool printed {fields:?}");
}
