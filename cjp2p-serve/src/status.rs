//! How a server goes: values by themselves, for people, programs and Prometheus.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use cjp2p_cli::prometheus::{Kind, Metrics};
use cjp2p_cli::{duration, size};
use cjp2p_io::names;
use serde::{Deserialize, Serialize};

use crate::cli::TOOL;

/// Ids and peers that are named: those with most.
pub(crate) const MAX_NAMED: usize = 20;

/// See the [module](self). What another version of this program does not say is 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// The version of the program.
    pub(crate) version: String,
    pub(crate) pid: u32,
    /// For how long it has run, in milliseconds.
    pub(crate) uptime_ms: u64,
    /// Where peers find it.
    pub(crate) address: String,
    /// Where peers of torrents do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) torrent_address: Option<String>,
    /// Files that are shared.
    pub(crate) files: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// Of the bytes that were or are to be hashed, those that are.
    pub(crate) hashing_done: u64,
    pub(crate) hashing_total: u64,
    /// How many names are published.
    pub(crate) names: u64,
    pub(crate) streams: u64,
    pub(crate) torrents: u64,
    /// Requests that were answered with content.
    pub(crate) requests: u64,
    /// Bytes of content and trees that were sent.
    pub(crate) sent: u64,
    /// The same in a second, lately.
    pub(crate) rate: u64,
    /// Reads of shared files that gave something.
    pub(crate) reads: u64,
    /// Those that had to wait for a disk.
    pub(crate) disk_waits: u64,
    /// Addresses that it has to do with.
    pub(crate) peers_known: u64,
    /// Those that are validated.
    pub(crate) peers_validated: u64,
    /// Requests for what is not here.
    pub(crate) absent: u64,
    /// Datagrams that no one can read.
    pub(crate) unreadable: u64,
    /// Those of which most was sent.
    pub(crate) by_id: Vec<OfId>,
    /// Those to which most was sent.
    pub(crate) by_peer: Vec<ToPeer>,
}

/// How much of some content was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OfId {
    pub(crate) id: String,
    /// Bytes.
    pub(crate) sent: u64,
}

/// How much was sent to a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToPeer {
    /// Its IP address; of IPv6, that of a network of 64 bits.
    pub(crate) host: String,
    /// Bytes.
    pub(crate) sent: u64,
}

impl Status {
    /// As one line of JSON.
    pub(crate) fn to_json(&self) -> String {
        // None of the types can fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// In one line, for who starts and watches services.
    pub(crate) fn in_short(&self) -> String {
        let (files, sent) = (count(self.files, "file"), size::human(self.sent));
        let hashing = self.hashing().map(|text| format!("; {text}")).unwrap_or_default();
        let peers = count(self.peers_validated, "peer");
        format!("shares {files}, {}{hashing}; {sent} sent; {peers}", size::human(self.bytes))
    }

    fn hashing(&self) -> Option<String> {
        let (done, total) = (self.hashing_done, self.hashing_total);
        (done < total).then(|| format!("hashed {} of {}", size::human(done), size::human(total)))
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let shown = |text: &str| names::shown(Path::new(text)).to_string();
        let up = duration::human(Duration::from_secs(self.uptime_ms / 1000));
        let torrents_at =
            self.torrent_address.as_deref().map(|at| format!(", for torrents at {}", shown(at)));
        let mut text = format!(
            "{TOOL} {}, process {}, up {up}, at {}{}\n",
            shown(&self.version),
            self.pid,
            shown(&self.address),
            torrents_at.unwrap_or_default()
        );
        let hashing = self.hashing().map(|text| format!("; {text}")).unwrap_or_default();
        // Writing to memory cannot fail.
        let _ =
            writeln!(text, "shares    {}, {}{hashing}", count(self.files, "file"), size::human(self.bytes));
        let _ = writeln!(
            text,
            "          {}, {}, {}",
            count(self.names, "name"),
            count(self.streams, "stream"),
            count(self.torrents, "torrent")
        );
        let _ = writeln!(
            text,
            "sent      {} in {}, {}/s now",
            size::human(self.sent),
            count(self.requests, "answer"),
            size::human(self.rate)
        );
        let _ = writeln!(
            text,
            "reads     {}, of which {} waited for a disk",
            self.reads + self.disk_waits,
            self.disk_waits
        );
        let _ = writeln!(text, "peers     {} known, {} validated", self.peers_known, self.peers_validated);
        let _ = writeln!(
            text,
            "refused   {} for what is not here, {} that nobody can read",
            count(self.absent, "request"),
            count(self.unreadable, "datagram")
        );
        for (heading, rows) in [
            ("most sent of", self.by_id.iter().map(|row| (&row.id, row.sent)).collect::<Vec<_>>()),
            ("most sent to", self.by_peer.iter().map(|row| (&row.host, row.sent)).collect()),
        ] {
            for (nth, (name, sent)) in rows.into_iter().take(MAX_NAMED).enumerate() {
                let _ = write!(text, "{}", if nth == 0 { format!("{heading}\n") } else { String::new() });
                let _ = writeln!(text, "  {:>10}  {}", size::human(sent), shown(name));
            }
        }
        text
    }

    /// For Prometheus.
    pub(crate) fn to_metrics(&self) -> String {
        use Kind::{Counter, Gauge};
        let mut metrics = Metrics::new("cjp2p_serve");
        let seconds = self.uptime_ms / 1000;
        for (name, kind, help, value) in [
            ("uptime_seconds", Gauge, "For how long it has run.", seconds),
            ("files", Gauge, "Files that are shared.", self.files),
            ("shared_bytes", Gauge, "Bytes of the files that are shared.", self.bytes),
            ("hashed_bytes", Gauge, "Bytes that are hashed, of those to be hashed.", self.hashing_done),
            ("to_hash_bytes", Gauge, "Bytes that were or are to be hashed.", self.hashing_total),
            ("names", Gauge, "Names that are published.", self.names),
            ("streams", Gauge, "Streams that begin here or are relayed.", self.streams),
            ("torrents", Gauge, "Torrents that are seeded.", self.torrents),
            ("answers_total", Counter, "Requests that were answered with content.", self.requests),
            ("sent_bytes_total", Counter, "Bytes of content and trees that were sent.", self.sent),
            ("reads_total", Counter, "Reads of shared files that gave something.", self.reads),
            ("disk_waits_total", Counter, "Reads of shared files that waited for a disk.", self.disk_waits),
            ("peers", Gauge, "Addresses that it has to do with.", self.peers_known),
            ("validated_peers", Gauge, "Peers that are validated.", self.peers_validated),
        ] {
            metrics.add(name, kind, help, value);
        }
        let refused = [("absent", self.absent), ("unreadable", self.unreadable)];
        let refused = refused.map(|(kind, value)| (kind.to_owned(), value));
        metrics.add_each("refused_total", Counter, "What was asked in vain.", "kind", refused);
        let by_id = self.by_id.iter().map(|row| (row.id.clone(), row.sent));
        metrics.add_each("id_sent_bytes", Gauge, "Bytes sent of the ids with most.", "id", by_id);
        let by_peer = self.by_peer.iter().map(|row| (row.host.clone(), row.sent));
        metrics.add_each("peer_sent_bytes", Gauge, "Bytes sent to the peers with most.", "host", by_peer);
        metrics.into_text()
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Status {
        Status {
            version: "0.1.0".into(),
            pid: 7,
            uptime_ms: 3_600_000,
            address: "[::]:24254".into(),
            files: 1,
            bytes: 2048,
            hashing_done: 1024,
            hashing_total: 4096,
            sent: 1 << 20,
            requests: 3,
            by_id: vec![OfId { id: "a\n\x1b[31mb".into(), sent: 1 << 20 }],
            by_peer: vec![ToPeer { host: "192.0.2.1".into(), sent: 5 }],
            ..Status::default()
        }
    }

    #[test]
    fn what_strangers_named_stays_in_its_line() {
        let (status, text) = (some(), some().to_text());
        assert!(!text.contains('\x1b') && !text.contains("a\n"), "{text}");
        assert!(text.contains("1 file, 2.0 KiB; hashed 1.0 KiB of 4.0 KiB\n"), "{text}");
        assert!(text.contains("1.0 MiB in 3 answers"), "{text}");
        assert_eq!(status.in_short().lines().count(), 1);
        assert_eq!(status.to_json().lines().count(), 1);
        let metrics = status.to_metrics();
        assert!(metrics.contains("cjp2p_serve_id_sent_bytes{id=\"a\\n\x1b[31mb\"} 1048576\n"), "{metrics}");
        assert!(metrics.contains("\ncjp2p_serve_sent_bytes_total 1048576\n"));
        assert!(metrics.contains("\ncjp2p_serve_refused_total{kind=\"absent\"} 0\n"));
    }

    #[test]
    fn what_another_version_says_can_be_read() {
        assert_eq!(serde_json::from_str::<Status>(&some().to_json()).unwrap(), some());
        let other: Status = serde_json::from_str(r#"{"version":"9","files":3,"new":[1]}"#).unwrap();
        assert_eq!((other.files, other.sent), (3, 0));
    }
}
