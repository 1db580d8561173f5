//! The same for Prometheus: the text format of its version 0.0.4.

use std::fmt::Write as _;

use super::Status;

/// The type of this text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that is counted.
pub fn text(status: &Status) -> String {
    let fetching = status.contents.iter().filter(|content| content.fetching).count() as u64;
    let mut text = String::new();
    for (name, kind, help, value) in [
        ("connections", "gauge", "Clients that are connected.", status.connections),
        ("requests_total", "counter", "Requests that came.", status.requests),
        ("sent_bytes_total", "counter", "Bytes that were sent to clients.", status.bytes_sent),
        (
            "shared_bytes_total",
            "counter",
            "Bytes of content and trees that were sent to peers.",
            status.bytes_shared,
        ),
        ("fetched_bytes_per_second", "gauge", "Bytes that come from peers.", status.rate),
        ("cache_bytes", "gauge", "Bytes that the cache holds.", status.cache.bytes),
        ("cache_max_bytes", "gauge", "Bytes that the cache may hold.", status.cache.most),
        ("cache_contents", "gauge", "Contents of which the cache has some.", status.cache.contents),
        ("fetches", "gauge", "Contents that are being fetched.", fetching),
        ("peers", "gauge", "Peers that answered.", status.peers.len() as u64),
        ("uptime_seconds", "gauge", "For how long it has run.", status.uptime),
    ] {
        // Writing to memory cannot fail.
        let _ = write!(
            text,
            "# HELP cjp2p_http_{name} {help}\n# TYPE cjp2p_http_{name} {kind}\ncjp2p_http_{name} {value}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_a_name_of_its_own() {
        let text = text(&Status { requests: 7, ..Status::default() });
        assert!(text.contains("\ncjp2p_http_requests_total 7\n"));
        let names: std::collections::BTreeSet<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(names.len() * 3, text.lines().count());
    }
}
