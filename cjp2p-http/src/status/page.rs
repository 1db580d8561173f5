//! The page that shows what goes on. It is a plain page; with scripts it follows what changes.

use std::fmt::Write as _;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::{ContentStatus, PeerStatus, Status};
use crate::folder::page::{STYLE, escape, size};

/// All of the script: each event is the changed part of the page.
const SCRIPT: &str =
    "new EventSource('/events').onmessage=e=>{document.getElementById('live').innerHTML=JSON.parse(e.data)}";
/// Bars and curves.
const MORE_STYLE: &str = "svg{display:block;width:100%;background:#8882}.p{fill:#06c}.l{fill:none;stroke:#06c;stroke-width:2}code{overflow-wrap:anywhere}";

/// What this page may load and do.
pub fn policy() -> String {
    let hash = BASE64.encode(&Sha256::digest(SCRIPT));
    format!("default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; script-src 'sha256-{hash}'")
}

/// The page, as it is at this address.
pub fn page(status: &Status, host: &str) -> String {
    let host = escape(host);
    format!(
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>cjp2p-http</title>\
         <meta name=viewport content=\"width=device-width\"><style>{STYLE}{MORE_STYLE}</style></head>\n<body>\
         <h1>cjp2p-http</h1>\n<p>This program fetches content by its id from peers, verifies every byte of it, and gives it to \
         programs on this machine:</p>\n<p><code>http://{host}/blake3/HEX</code> · <code>/HEX</code> of sha256sum · \
         <code>/folder/HEX/</code> · <code>/latest/KEY/NAME</code></p>\n<p><a href=\"/status.json\">status.json</a> · \
         <a href=\"/metrics\">metrics</a></p>\n<div id=live>{}</div>\n<script>{SCRIPT}</script></body></html>\n",
        live(status)
    )
}

/// The event that brings a page up to date.
pub fn event(status: &Status) -> String {
    // A string cannot fail, and has no line end once it is JSON.
    format!("data: {}\n\n", serde_json::to_string(&live(status)).unwrap_or_default())
}

/// The part of the page that changes.
fn live(status: &Status) -> String {
    let mut text = format!("<h2>{}/s from peers</h2>\n", size(status.rate));
    curve(&mut text, &status.rates);
    // Writing to memory cannot fail.
    let _ = writeln!(
        text,
        "<p>{} of {} in the cache, {} contents · {} connections, {} requests, {} sent · {} shared with peers</p>",
        size(status.cache.bytes),
        size(status.cache.most),
        status.cache.contents,
        status.connections,
        status.requests,
        size(status.bytes_sent),
        size(status.bytes_shared),
    );
    if !status.contents.is_empty() {
        text.push_str("<table><tr><th>content<th class=n>here<th class=n>of<th class=n>rate<th class=n>readers<th>from</tr>\n");
        for content in &status.contents {
            row(&mut text, content);
        }
        text.push_str("</table>\n");
    }
    let peers: Vec<String> = status.peers.iter().take(100).map(shown).collect();
    let _ =
        write!(text, "<h2>Peers that answered: {}</h2>\n<p>{}</p>", status.peers.len(), peers.join(" · "));
    text
}

fn shown(peer: &PeerStatus) -> String {
    let round_trip = peer.round_trip.map(|ms| format!(" {ms} ms")).unwrap_or_default();
    format!("<code>{}</code>{round_trip}", escape(&peer.address))
}

fn row(text: &mut String, content: &ContentStatus) {
    let id = escape(&content.id);
    let of = content.length.map(size).unwrap_or_else(|| "?".to_owned());
    let rate = if content.fetching { format!("{}/s", size(content.rate)) } else { String::new() };
    let sources: Vec<String> = content.sources.iter().take(5).map(|source| escape(source)).collect();
    let more = if content.sources.len() > 5 {
        format!(" and {} more", content.sources.len() - 5)
    } else {
        String::new()
    };
    let _ = write!(
        text,
        "<tr><td><a href=\"/{id}\"><code>{id}</code></a><td class=n>{}<td class=n>{of}<td class=n>{rate}<td class=n>{}<td>{}{more}</tr>\n\
         <tr><td colspan=6><svg viewBox=\"0 0 1000 10\" height=10 preserveAspectRatio=none>",
        size(content.done),
        content.readers,
        sources.join(", "),
    );
    if let Some(length) = content.length.filter(|length| *length > 0) {
        let scale = 1000.0 / length as f64;
        for &(start, end) in &content.parts {
            let (x, width) = (start as f64 * scale, ((end - start) as f64 * scale).max(0.5));
            let _ = write!(text, "<rect class=p x={x:.1} y=0 width={width:.1} height=10 />");
        }
    }
    text.push_str("</svg></tr>\n");
}

fn curve(text: &mut String, rates: &[u64]) {
    let most = rates.iter().copied().max().unwrap_or(0).max(1) as f64;
    text.push_str(
        "<svg viewBox=\"0 0 600 100\" height=100 preserveAspectRatio=none><polyline class=l points=\"",
    );
    let first = 600.0 - 10.0 * rates.len().saturating_sub(1) as f64;
    for (nth, rate) in rates.iter().enumerate() {
        let _ = write!(text, "{:.0},{:.0} ", first + 10.0 * nth as f64, 98.0 - 95.0 * *rate as f64 / most);
    }
    text.push_str("\" /></svg>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_text_and_an_event_is_one_line() {
        let content = ContentStatus {
            id: "<b>&".into(),
            length: Some(1000),
            done: 250,
            parts: vec![(0, 250)],
            sources: vec!["<i>".into(); 7],
            ..ContentStatus::default()
        };
        let peers = vec![PeerStatus { address: "\"<u>".into(), round_trip: Some(7) }];
        let status = Status { contents: vec![content], peers, rates: vec![0, 5, 10], ..Status::default() };
        let page = page(&status, "<s>");
        assert!(
            !page.contains("<b>") && !page.contains("<i>") && !page.contains("<u>") && !page.contains("<s>")
        );
        assert!(page.contains("width=250.0") && page.contains("and 2 more"));
        let event = event(&status);
        assert!(
            event.starts_with("data: \"")
                && event.ends_with("\"\n\n")
                && event.trim_end().lines().count() == 1
        );
        assert!(policy().contains("script-src 'sha256-"));
        assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
    }
}
