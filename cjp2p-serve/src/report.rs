//! What is printed: on standard output ids and paths, or JSON, and on standard error what a person wants to know.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cjp2p_cli::progress::around_the_bar;
use cjp2p_cli::stderr::{self, Priority};
use cjp2p_cli::{ToolError, size, stdout};
use cjp2p_io::names;
use cjp2p_torrent::magnet::Magnet;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::folder_id;
use cjp2p_wire::node::Counters;
use cjp2p_wire::signed::{Pointer, PointsTo};
use cjp2p_wire::stream::StreamId;
use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::cli::TOOL;
use crate::events::{Event, Published};
use crate::file::{FileState, Ids};
use crate::invitation::Invitation;
use crate::publisher::News;

/// Prints what happens.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    /// With which to tell how others get what is shared; `None` where nobody looks.
    invitation: Option<Invitation>,
    /// What the last summary said.
    told: Counters,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Found {
        #[serde(flatten)]
        path: JsonPath,
        length: u64,
    },
    Mapped {
        external_address: Option<SocketAddr>,
        /// The same without the port, kept for compatibility.
        address: Option<IpAddr>,
        port: u16,
    },
    Listening {
        address: SocketAddr,
        /// Where peers of torrents call, by TCP.
        #[serde(skip_serializing_if = "Option::is_none")]
        torrent_address: Option<SocketAddr>,
        /// What a hole in this program could not be used for.
        refused: Vec<&'static str>,
    },
    Shared(JsonFile),
    Changed(JsonFile),
    Withdrawn(JsonFile),
    Published {
        /// That of the folder.
        id: String,
        /// Those of its list.
        ids: [ContentId; 2],
        #[serde(flatten)]
        path: JsonPath,
        length: u64,
        files: u64,
        bytes: u64,
    },
    Named {
        /// `latest/KEY/NAME`
        name: String,
        /// What it stands for now.
        id: String,
        seq: u64,
        #[serde(flatten)]
        path: JsonPath,
    },
    /// A torrent is seeded.
    Torrent {
        info_hash: String,
        magnet: String,
        #[serde(flatten)]
        path: JsonPath,
        pieces_right: u32,
        pieces: u32,
        pieces_hashed: u32,
    },
    Ready {
        files: u64,
        bytes: u64,
        hashed: u64,
    },
    /// A stream begins here, or is relayed.
    Stream {
        id: String,
        relayed: bool,
    },
    /// A part of a stream begins: `started`, `resumed`, `replaced`, `truncated` or `rotated`.
    Part {
        id: String,
        offset: u64,
        why: &'static str,
    },
    /// The input of a stream ended.
    Ended {
        id: String,
        length: u64,
        /// That of all bytes, where there is one part.
        #[serde(skip_serializing_if = "Option::is_none")]
        blake3: Option<ContentId>,
    },
    Served {
        requests: u64,
        bytes: u64,
        datagrams: u64,
    },
}

impl Line {
    fn mapped(address: Option<IpAddr>, port: u16) -> Line {
        let external_address = address.map(|address| SocketAddr::new(address, port));
        Line::Mapped { external_address, address, port }
    }
}

#[derive(Serialize)]
struct JsonFile {
    ids: [ContentId; 2],
    #[serde(flatten)]
    path: JsonPath,
    length: u64,
}

#[derive(Serialize)]
struct JsonPath {
    path: String,
    /// The bytes of a path that is not UTF-8, in hex; `path` is then only near to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl Report {
    /// Prints JSON, or else for people; to these less if `quiet`.
    pub(crate) fn new(json: bool, quiet: bool) -> Report {
        Report { json, quiet, invitation: None, told: Counters::default() }
    }

    /// From now on tells how others get what is shared, as far as it is an argument or has a name.
    pub(crate) fn invite(&mut self, invitation: Invitation) {
        self.invitation = Some(invitation).filter(|_| !self.json);
    }

    fn tell_how_to_fetch(&self, id: &str) {
        if let Some(command) = self.invitation.as_ref().and_then(|invitation| invitation.to_fetch(id)) {
            self.say(&format!("to be fetched by {command}"));
        }
    }

    /// A file would be shared.
    ///
    /// # Errors
    ///
    /// As for all methods: standard output cannot be written.
    pub(crate) fn found(&self, path: &Path, length: u64) -> Result<(), ToolError> {
        if self.json {
            return print_json(&[Line::Found { path: JsonPath::of(path), length }]);
        }
        let mut line = Vec::new();
        append_path(&mut line, b"", path);
        print(&line)
    }

    /// The socket is bound, and what is in `refused` is refused to this process.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn listening(
        &self,
        address: SocketAddr,
        torrent_address: Option<SocketAddr>,
        refused: Vec<&'static str>,
    ) -> Result<(), ToolError> {
        if self.json {
            return print_json(&[Line::Listening { address, torrent_address, refused }]);
        }
        match torrent_address {
            Some(torrents) => self.say(&format!("listening at {address}, and for torrents at {torrents}")),
            None => self.say(&format!("listening at {address}")),
        }
        Ok(())
    }

    /// All files of a torrent were looked at: so many pieces are as it says.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn torrent(
        &self,
        magnet: &Magnet,
        path: &Path,
        pieces_right: u32,
        pieces: u32,
        pieces_hashed: u32,
    ) -> Result<(), ToolError> {
        let text = magnet.to_string();
        if self.json {
            let (info_hash, path) = (magnet.info_hash.to_string(), JsonPath::of(path));
            let line = Line::Torrent { info_hash, magnet: text, path, pieces_right, pieces, pieces_hashed };
            return print_json(&[line]);
        }
        let mut line = Vec::new();
        append_path(&mut line, format!("{text}  ").as_bytes(), path);
        print(&line)
    }

    /// The router passes on what comes from outside to this port, and to this address if it told its own.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn mapped(&mut self, address: Option<IpAddr>, port: u16) -> Result<(), ToolError> {
        if self.json {
            return print_json(&[Line::mapped(address, port)]);
        }
        if let (Some(invitation), Some(ip)) = (&mut self.invitation, address) {
            invitation.set(SocketAddr::new(ip, port));
        }
        let address = address.map(|ip| format!(" of {ip}")).unwrap_or_default();
        self.say(&format!("reachable from outside at port {port}{address}"));
        Ok(())
    }

    /// Something happened to shared files.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn events(&self, events: &[Event]) -> Result<(), ToolError> {
        if events.is_empty() {
            return Ok(());
        }
        if self.json {
            let lines: Vec<Line> = events.iter().map(Line::of).collect();
            return print_json(&lines);
        }
        let mut text = Vec::new();
        for event in events {
            match event {
                Event::Shared { file, ids, .. } => {
                    let id = format!("{}  ", ContentId::Blake3(ids.blake3));
                    append_path(&mut text, id.as_bytes(), &file.place.shown());
                }
                Event::Changed { file, .. } => {
                    log::info!("changed: {}", names::shown(file.place.shown()));
                }
                Event::Withdrawn { file, .. } => {
                    log::info!("gone: {}", names::shown(file.place.shown()));
                }
                Event::Published(published) => {
                    let id = format!("{}  ", published.list.folder_id());
                    // With a slash at its end.
                    append_path(&mut text, id.as_bytes(), &published.source.named.join(""));
                }
                Event::Ready { .. } => {}
            }
        }
        print(&text)?;
        for event in events {
            match event {
                Event::Published(published) if published.replaced.is_none() => {
                    self.tell_how_to_fetch(&published.list.folder_id());
                }
                Event::Shared { file, ids, .. } if file.place.source.only.is_some() => {
                    self.tell_how_to_fetch(&ContentId::Blake3(ids.blake3).to_string());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A name stands for something new.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn named(&self, news: &News, path: &Path) -> Result<(), ToolError> {
        let Pointer { id: name, blake3, sha256, seq, kind, .. } = news.pointer.pointer();
        let is_folder = *kind == PointsTo::Folder;
        if self.json {
            let id = match blake3 {
                Some(blake3) if is_folder => folder_id(blake3),
                Some(blake3) => ContentId::Blake3(*blake3).to_string(),
                None => ContentId::Sha256(*sha256).to_string(),
            };
            let path = JsonPath::of(path);
            return print_json(&[Line::Named { name: name.to_string(), id, seq: *seq, path }]);
        }
        if !news.is_first {
            log::info!("{name}: has a new version, number {seq}");
            return Ok(());
        }
        let mut line = Vec::new();
        let path = if is_folder { path.join("") } else { path.to_path_buf() };
        append_path(&mut line, format!("{name}  ").as_bytes(), &path);
        print(&line)?;
        self.tell_how_to_fetch(&name.to_string());
        Ok(())
    }

    /// A stream is here now: of our own, or of somebody else.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn stream(&self, id: &StreamId, relayed: bool) -> Result<(), ToolError> {
        if self.json {
            return print_json(&[Line::Stream { id: id.to_string(), relayed }]);
        }
        print(format!("{id}\n").as_bytes())?;
        self.tell_how_to_fetch(&id.to_string());
        Ok(())
    }

    /// A part of a stream begins at this byte.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn stream_part(&self, id: &StreamId, offset: u64, why: &'static str) -> Result<(), ToolError> {
        if self.json {
            return print_json(&[Line::Part { id: id.to_string(), offset, why }]);
        }
        log::info!("{id}: a part begins at byte {offset}: {why}");
        Ok(())
    }

    /// The input of a stream ended.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn stream_ended(
        &self,
        id: &StreamId,
        length: u64,
        blake3: Option<&blake3::Hash>,
    ) -> Result<(), ToolError> {
        let blake3 = blake3.map(|hash| ContentId::Blake3(*hash.as_bytes()));
        if self.json {
            return print_json(&[Line::Ended { id: id.to_string(), length, blake3 }]);
        }
        let content = blake3.map(|id| format!(", {id}")).unwrap_or_default();
        self.say(&format!("{id}: ended after {}{content}; it can still be viewed", size::human(length)));
        Ok(())
    }

    /// Everything that was there at the start is shared.
    pub(crate) fn ready(&self, files: u64, bytes: u64) {
        if !self.json {
            let plural = if files == 1 { "" } else { "s" };
            self.say(&format!("sharing {files} file{plural}, {}", size::human(bytes)));
        }
    }

    /// How much was sent so far; only said if it is more than last time.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written.
    pub(crate) fn served(&mut self, now: Counters) -> Result<(), ToolError> {
        if now.requests_served == self.told.requests_served {
            return Ok(());
        }
        self.told = now;
        let (requests, bytes) = (now.requests_served, now.content_out);
        log::info!("{requests} requests answered, {}", size::human(bytes));
        if self.json {
            let datagrams = now.datagrams_out;
            print_json(&[Line::Served { requests, bytes, datagrams }])?;
        }
        Ok(())
    }

    fn say(&self, message: &str) {
        if !self.quiet {
            around_the_bar(|| stderr::tell(Priority::Info, &format!("{TOOL}: {message}\n")));
        }
    }
}

impl Line {
    fn of(event: &Event) -> Line {
        match event {
            Event::Shared { file, ids, .. } => Line::Shared(JsonFile::of(file, ids)),
            Event::Changed { file, ids, .. } => Line::Changed(JsonFile::of(file, ids)),
            Event::Withdrawn { file, ids, .. } => Line::Withdrawn(JsonFile::of(file, ids)),
            Event::Published(published) => {
                let Published { source, list, sha256, totals, .. } = &**published;
                Line::Published {
                    id: list.folder_id(),
                    ids: [list.id(), ContentId::Sha256(*sha256)],
                    path: JsonPath::of(&source.named),
                    length: list.length,
                    files: totals.files,
                    bytes: totals.bytes,
                }
            }
            &Event::Ready { files, bytes, hashed } => Line::Ready { files, bytes, hashed },
        }
    }
}

impl JsonFile {
    fn of(file: &FileState, ids: &Ids) -> JsonFile {
        JsonFile {
            ids: [ContentId::Blake3(ids.blake3), ContentId::Sha256(ids.sha256)],
            path: JsonPath::of(&file.place.shown()),
            length: file.identity.size,
        }
    }
}

impl JsonPath {
    fn of(path: &Path) -> JsonPath {
        let hex = || HEXLOWER.encode(path.as_os_str().as_bytes());
        JsonPath { path: path.to_string_lossy().into_owned(), path_hex: path.to_str().is_none().then(hex) }
    }
}

/// A line of a list as sha256sum writes it.
fn append_path(text: &mut Vec<u8>, before: &[u8], path: &Path) {
    let (escaped, marked) = names::escape(path.as_os_str().as_bytes());
    text.extend_from_slice(if marked { b"\\" } else { b"" });
    text.extend_from_slice(before);
    text.extend_from_slice(&escaped);
    text.push(b'\n');
}

fn print_json(lines: &[Line]) -> Result<(), ToolError> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).map_err(|error| ToolError::output(error.into()))?;
        text.push(b'\n');
    }
    print(&text)
}

fn print(text: &[u8]) -> Result<(), ToolError> {
    stdout::print(&names::lines_for(io::stdout().is_terminal(), text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::Patience;
    use crate::place::{Place, Source};
    use std::ffi::OsStr;
    use std::sync::Arc;

    fn json(line: &Line) -> String {
        serde_json::to_string(line).unwrap()
    }

    #[test]
    fn events_are_spelled_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let name = OsStr::from_bytes(b"caf\xe9");
        std::fs::write(folder.path().join(name), "x").unwrap();
        let source = Arc::new(Source::open(0, folder.path()).unwrap());
        let place = Place { source, relative: Path::new(name).into(), target: None };
        let (_, identity) = place.open(Patience::Wait).unwrap();
        let file = FileState { place, identity };
        let ids = Ids { blake3: [1; 32], sha256: [2; 32] };
        let line = Line::Shared(JsonFile::of(&file, &ids));
        let folder = folder.path().display();
        let hex = HEXLOWER.encode(format!("{folder}/caf").as_bytes());
        assert_eq!(
            json(&line),
            format!(
                r#"{{"event":"shared","ids":["blake3/{}","{}"],"path":"{folder}/caf{}","path_hex":"{hex}e9","length":1}}"#,
                "01".repeat(32),
                "02".repeat(32),
                '\u{fffd}',
            )
        );
        let address = "[::1]:24254".parse().unwrap();
        let line = Line::Listening { address, torrent_address: None, refused: vec!["tcp"] };
        assert_eq!(json(&line), r#"{"event":"listening","address":"[::1]:24254","refused":["tcp"]}"#);
        let line = Line::mapped(Some([192, 0, 2, 1].into()), 7);
        let expected =
            r#"{"event":"mapped","external_address":"192.0.2.1:7","address":"192.0.2.1","port":7}"#;
        assert_eq!(json(&line), expected);
        let line = Line::Ready { files: 2, bytes: 9, hashed: 1 };
        assert_eq!(json(&line), r#"{"event":"ready","files":2,"bytes":9,"hashed":1}"#);
        let line = Line::Found { path: JsonPath::of(Path::new("a\nb")), length: 3 };
        assert_eq!(json(&line), r#"{"event":"found","path":"a\nb","length":3}"#);
    }

    #[test]
    fn a_listed_path_is_one_line_whatever_it_is_called() {
        let mut text = Vec::new();
        append_path(&mut text, b"id  ", Path::new("plain"));
        append_path(&mut text, b"id  ", Path::new("a\nb"));
        assert_eq!(text, b"id  plain\n\\id  a\\nb\n");
    }
}
