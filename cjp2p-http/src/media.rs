//! What content is, for the client: its type by its name and first bytes, and what it is called.

use mime_guess::MimeGuess;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// So many first bytes tell what something is.
pub const SNIFFED: u64 = 512;

/// What is taken for the type where nothing is known.
const UNKNOWN: &str = "application/octet-stream";

/// The type that a name tells.
pub fn type_of_name(name: &str) -> Option<String> {
    // Without an extension it is often something else than it looks like.
    let (_, extension) = name.rsplit_once('.')?;
    let found = MimeGuess::from_ext(extension).first_raw()?;
    Some(with_charset(found))
}

/// The type of what begins with these bytes, `is_all` of them.
pub fn type_of_bytes(bytes: &[u8], is_all: bool) -> String {
    if let Some(found) = infer::get(bytes) {
        return with_charset(found.mime_type());
    }
    let is_text = match std::str::from_utf8(bytes) {
        Ok(text) => is_printed(text),
        // The last letter may be cut.
        Err(error) => {
            let (text, cut) = bytes.split_at(error.valid_up_to());
            !is_all
                && error.error_len().is_none()
                && cut.len() < 4
                && std::str::from_utf8(text).is_ok_and(is_printed)
        }
    };
    if is_text && !bytes.is_empty() { "text/plain; charset=utf-8".into() } else { UNKNOWN.into() }
}

fn is_printed(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_control() && !"\t\n\r\u{c}\u{1b}".contains(letter))
}

fn with_charset(found: &str) -> String {
    let is_text =
        found.starts_with("text/") || matches!(found, "application/javascript" | "application/json");
    if is_text { format!("{found}; charset=utf-8") } else { found.to_owned() }
}

/// RFC 8187, section 3.2.1: what needs no escape in an extended value.
const ATTRIBUTE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The value of `Content-Disposition`: to be shown or saved, under this name if it has one. `None` where nothing is to be said.
pub fn disposition(name: Option<&str>, is_download: bool) -> Option<String> {
    let kind = if is_download { "attachment" } else { "inline" };
    let Some(name) = name else { return is_download.then(|| kind.to_owned()) };
    let is_plain =
        name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic() && !b"\"\\%".contains(&byte));
    if is_plain {
        return Some(format!("{kind}; filename=\"{name}\""));
    }
    let ascii: String = name
        .chars()
        .map(|c| if c == ' ' || c.is_ascii_graphic() && !"\"\\%".contains(c) { c } else { '_' })
        .collect();
    let extended = utf8_percent_encode(name, ATTRIBUTE);
    Some(format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{extended}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_type_and_else_the_first_bytes_do() {
        assert_eq!(type_of_name("a.b.mkv").as_deref(), Some("video/x-matroska"));
        assert_eq!(type_of_name("index.HTML").as_deref(), Some("text/html; charset=utf-8"));
        assert_eq!(type_of_name("README"), None);
        assert_eq!(type_of_name("a.unheardof"), None);
        assert_eq!(type_of_bytes(b"\x89PNG\r\n\x1a\n\0\0", false), "image/png");
        assert_eq!(type_of_bytes("h\u{e9}llo\n".as_bytes(), true), "text/plain; charset=utf-8");
        assert_eq!(
            type_of_bytes(&"h\u{e9}".as_bytes()[..2], false),
            "text/plain; charset=utf-8",
            "a letter is cut"
        );
        assert_eq!(type_of_bytes(&"h\u{e9}".as_bytes()[..2], true), UNKNOWN);
        assert_eq!(type_of_bytes(b"\x00\x01\x02", true), UNKNOWN);
        assert_eq!(type_of_bytes(b"", true), UNKNOWN);
    }

    #[test]
    fn a_name_of_any_letters_is_told_in_both_spellings() {
        assert_eq!(disposition(None, false), None);
        assert_eq!(disposition(None, true).as_deref(), Some("attachment"));
        assert_eq!(disposition(Some("a b.txt"), true).as_deref(), Some("attachment; filename=\"a b.txt\""));
        assert_eq!(
            disposition(Some("\u{e9}\"\r\n%.txt"), false).as_deref(),
            Some("inline; filename=\"_____.txt\"; filename*=UTF-8''%C3%A9%22%0D%0A%25.txt")
        );
    }
}
