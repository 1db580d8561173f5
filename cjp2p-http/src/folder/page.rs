//! The page that shows what is in a folder.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::find::{Child, Listing};

/// What is escaped in a part of a path: all that may mean something in a URL or in HTML.
const PART: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// How all pages of this program look.
pub const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222;background:#fff}\
h1{font-size:1.3em;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}td,th{padding:.2em .6em;text-align:left;border-bottom:1px solid #ddd}\
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td{overflow-wrap:anywhere}a{color:#06c;text-decoration:none}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#333}a{color:#6af}}";

/// The page of a folder. `title` says which; `has_above`: it lies in another that can be shown.
pub fn page(title: &str, listing: &Listing, has_above: bool) -> String {
    let mut rows = String::new();
    if has_above {
        rows.push_str("<tr><td><a href=\"../\">..</a></td><td class=n></td></tr>\n");
    }
    let is_folder = |child: &Child| matches!(child, Child::Folder);
    let folders = listing.children.iter().filter(|(_, child)| is_folder(child));
    let others = listing.children.iter().filter(|(_, child)| !is_folder(child));
    for (name, child) in folders.chain(others) {
        let (end, size) = match child {
            Child::Folder => ("/", String::new()),
            Child::Link => ("", "link".to_owned()),
            Child::File(length, _) => ("", size(*length)),
        };
        // A name that looks like a scheme is still a name.
        let link = percent_encode(name, PART);
        let shown = escape(&String::from_utf8_lossy(name));
        // Writing to memory cannot fail.
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"./{link}{end}\">{shown}{end}</a></td><td class=n>{size}</td></tr>"
        );
    }
    let cut = if listing.is_cut { "<p>There is more than is shown here.</p>\n" } else { "" };
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>{title}</title>\
         <meta name=viewport content=\"width=device-width\"><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>\n<table>\n{rows}</table>\n{cut}</body></html>\n"
    )
}

/// The same text in HTML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What would change how the rest of the page is read.
            letter if letter.is_control() || cjp2p_wire::folder::is_deceptive(letter) => {
                escaped.push('\u{fffd}')
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A size as people read it.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The path of a folder, for a URL.
pub fn encode_path(parts: &[Vec<u8>]) -> String {
    let encoded: Vec<String> = parts.iter().map(|part| percent_encode(part, PART).to_string()).collect();
    encoded.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_part_of_the_page() {
        let mut listing = Listing::default();
        for name in ["<script>alert(1)</script>", "javascript:x", "a\"b'c", "\u{202e}txt", "..%2f"] {
            listing.children.insert(name.as_bytes().to_vec(), Child::File(1500, [0; 32]));
        }
        listing.children.insert(b"\xff".to_vec(), Child::Folder);
        let page = page("<b>", &listing, false);
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains('\u{202e}'));
        assert!(page.contains("href=\"./javascript%3Ax\"") && page.contains("href=\"./%FF/\""));
        assert!(page.contains("href=\"./..%252f\"") && page.contains("1.5 KiB"));
        assert!(page.find("%FF").unwrap() < page.find("javascript").unwrap(), "folders come first");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            (size(0), size(1023), size(1024), size(1 << 40)),
            ("0 B".into(), "1023 B".into(), "1.0 KiB".into(), "1.0 TiB".into())
        );
    }
}
