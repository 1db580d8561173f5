//! The same for Prometheus.

use cjp2p_cli::prometheus::{Kind, Metrics};

use super::Status;

/// All that is counted.
pub fn text(status: &Status) -> String {
    let fetching = status.contents.iter().filter(|content| content.fetching).count() as u64;
    let mut metrics = Metrics::new("cjp2p_http");
    for (name, kind, help, value) in [
        ("connections", Kind::Gauge, "Clients that are connected.", status.connections),
        ("requests_total", Kind::Counter, "Requests that came.", status.requests),
        ("sent_bytes_total", Kind::Counter, "Bytes that were sent to clients.", status.bytes_sent),
        (
            "shared_bytes_total",
            Kind::Counter,
            "Bytes of content and trees that were sent to peers.",
            status.bytes_shared,
        ),
        ("fetched_bytes_per_second", Kind::Gauge, "Bytes that come from peers.", status.rate),
        ("cache_bytes", Kind::Gauge, "Bytes that the cache holds.", status.cache.bytes),
        ("cache_max_bytes", Kind::Gauge, "Bytes that the cache may hold.", status.cache.most),
        ("cache_contents", Kind::Gauge, "Contents of which the cache has some.", status.cache.contents),
        ("fetches", Kind::Gauge, "Contents that are being fetched.", fetching),
        ("peers", Kind::Gauge, "Peers that answered.", status.peers.len() as u64),
        ("uptime_seconds", Kind::Gauge, "For how long it has run.", status.uptime),
    ] {
        metrics.add(name, kind, help, value);
    }
    metrics.into_text()
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
