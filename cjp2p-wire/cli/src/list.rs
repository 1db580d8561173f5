//! Lines of lists of ids and names: what these tools, sha256sum and b3sum print, and the form of BSD and OpenSSL.
//!
//! A list is bytes: names need not be UTF-8. Each line is told apart first by [`content_of`]; then [`parse`] reads an id and a
//! name, or [`id_of`] the id alone.

use std::io::{self, BufRead, Read};

use cjp2p_io::names;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::folder::FOLDER_PREFIX;

/// Longest line in bytes: an id and a path of the greatest length, all of it escaped, and room to spare. So a file that
/// is no list at all does not fill the memory.
const MAX_LINE_LEN: u64 = 64 * 1024;

/// The byte order mark of UTF-8, which some systems write at the beginning of a text. Where texts were put together it comes in
/// between too. No id begins with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a file in a list should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The content with this BLAKE3 hash.
    Blake3(Hash),
    /// The content with this SHA-256 hash.
    Sha256(Hash),
    /// 64 hex digits, of which sha256sum and b3sum do not say which hash they are.
    Either(Hash),
}

/// A line of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it should be.
    pub expected: Expected,
    /// The file's name as it is in the file system.
    pub name: Vec<u8>,
}

impl Expected {
    /// The id to ask for. Bare digits are those of SHA-256 on the wire.
    pub fn id(self) -> ContentId {
        match self {
            Expected::Blake3(hash) => ContentId::Blake3(hash),
            Expected::Sha256(hash) | Expected::Either(hash) => ContentId::Sha256(hash),
        }
    }
}

/// For what the digits of `id` are taken where they came alone, and how to say that they are something else.
pub fn of_bare_digits(id: &ContentId) -> String {
    format!("64 digits alone are taken for SHA-256: if b3sum printed them, the id is blake3/{id}")
}

/// Whether a list that begins with these bytes is UTF-16, in which no id can be found.
pub fn is_utf16(start: &[u8]) -> bool {
    start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff")
}

/// The text without a byte order mark at its beginning.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// What a line, without its end, says to a program: without a byte order mark, blanks before it and, where lines end with line
/// feeds, a carriage return behind it. `None` for comments, which begin with `#`, and lines of nothing but blanks: those are for
/// people.
pub fn content_of(line: &[u8], nul: bool) -> Option<&[u8]> {
    let line = without_mark(line).trim_ascii_start();
    let line = if nul { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
    (!line.is_empty() && line[0] != b'#').then_some(line)
}

/// The id in a line in which an id alone will do; what follows it is not looked at.
pub fn id_of(line: &[u8]) -> Option<Expected> {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    parse_id(&line[..end]).or_else(|| parse_tagged(line).map(|(expected, _)| expected))
}

/// Reads a line without its end. With `escapes`, a backslash at its beginning says that the name is escaped.
pub fn parse(line: &[u8], escapes: bool) -> Option<Listed> {
    let line = line.trim_ascii_start();
    let (line, escaped) = match line.strip_prefix(b"\\") {
        Some(rest) if escapes => (rest, true),
        _ => (line, false),
    };
    let (expected, name) = parse_tagged(line).or_else(|| parse_columns(line))?;
    let name = if escaped { names::unescape(name)? } else { name.to_vec() };
    if name.is_empty() || name.contains(&0) {
        return None;
    }
    Some(Listed { expected, name })
}

/// Reads a line about a folder, as [`parse`] does one about a file: `folder/` and 64 hex digits, and the folder's name. What is
/// expected is then the BLAKE3 hash of the folder's list.
pub fn parse_folder(line: &[u8], escapes: bool) -> Option<Listed> {
    let line = line.trim_ascii_start();
    let (mark, line) = match line.strip_prefix(b"\\") {
        Some(rest) if escapes => (&b"\\"[..], rest),
        _ => (&b""[..], line),
    };
    let rest = line.strip_prefix(FOLDER_PREFIX.as_bytes())?;
    parse(&[mark, b"blake3/", rest].concat(), escapes)
}

/// `ID  NAME`, or `ID *NAME` for a file read as binary, or `ID NAME`.
fn parse_columns(line: &[u8]) -> Option<(Expected, &[u8])> {
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t'))?;
    let expected = parse_id(&line[..end])?;
    let rest = &line[end + 1..];
    let name = rest.strip_prefix(b" ").or_else(|| rest.strip_prefix(b"*"));
    Some((expected, name.unwrap_or(rest)))
}

fn parse_id(id: &[u8]) -> Option<Expected> {
    // The backslash of a line whose name is escaped was taken before.
    let text = str::from_utf8(id).ok().filter(|text| !text.starts_with('\\'))?;
    match ContentId::parse_any_spelling(text).ok()? {
        ContentId::Blake3(hash) => Some(Expected::Blake3(hash)),
        ContentId::Sha256(hash) if id.len() == 64 => Some(Expected::Either(hash)),
        ContentId::Sha256(hash) => Some(Expected::Sha256(hash)),
        ContentId::Tree(_) | ContentId::Name(_) => None,
    }
}

/// `SHA256 (NAME) = HEX` as BSD writes it, `SHA256(NAME)= HEX` as OpenSSL does.
fn parse_tagged(line: &[u8]) -> Option<(Expected, &[u8])> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')').filter(|close| *close > open)?;
    let digits = line[close + 1..].trim_ascii().strip_prefix(b"=")?.trim_ascii();
    let Some(Expected::Either(hash)) = parse_id(digits) else {
        return None;
    };
    let expected = match line[..open].trim_ascii_end() {
        b"SHA256" | b"SHA2-256" => Expected::Sha256(hash),
        b"BLAKE3" => Expected::Blake3(hash),
        _ => return None,
    };
    Some((expected, &line[open + 1..close]))
}

/// Reads lines of bounded length.
pub struct Lines<R> {
    reader: R,
    end: u8,
    line: Vec<u8>,
}

/// A line of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// All of it, without its end.
    Whole(&'a [u8]),
    /// Longer than any line of a list can be.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// Lines that end with NUL, or else with a line feed.
    pub fn new(reader: R, nul: bool) -> Lines<R> {
        Lines { reader, end: if nul { 0 } else { b'\n' }, line: Vec::new() }
    }

    /// The next line; the last one needs no end.
    ///
    /// # Errors
    ///
    /// The reader's.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        if self.reader.by_ref().take(MAX_LINE_LEN).read_until(self.end, &mut self.line)? == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|last| *last == self.end).is_none() && self.line.len() as u64 == MAX_LINE_LEN {
            self.reader.skip_until(self.end)?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(&self.line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_name_is_printed_reads_back(name in prop::collection::vec(1u8.., 1..40), odd in "[\\\\ *()=\r\n]{1,8}", blake3: bool) {
            let id = if blake3 { ContentId::Blake3(hash()) } else { ContentId::Sha256(hash()) };
            for name in [&name[..], odd.as_bytes()] {
                let (escaped, marked) = names::escape(name);
                let start = format!("{}{id}  ", if marked { "\\" } else { "" });
                let listed = parse(&[start.as_bytes(), &escaped].concat(), true);
                prop_assert_eq!(listed.map(|listed| listed.name), Some(name.to_vec()));
                let plain = parse(&[format!("{id}  ").as_bytes(), name].concat(), false);
                prop_assert_eq!(plain.map(|listed| listed.name), Some(name.to_vec()));
            }
        }

        #[test]
        fn no_line_is_too_odd_to_be_judged(line: Vec<u8>, near in "[ \\\\*(]{0,2}(SHA256|BLAKE3|blake3/)?[ (a)=]{0,5}[0-9a-f]{63,65}[ *)=]{0,3}a?", escapes: bool) {
            for line in [&line[..], near.as_bytes()] {
                let id = id_of(line);
                if let Some(listed) = parse(line, escapes) {
                    prop_assert!(!listed.name.is_empty());
                    prop_assert_eq!(id, Some(listed.expected), "both read the same id");
                }
            }
        }
    }

    const HEX: &str = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";

    fn hash() -> Hash {
        let Ok(ContentId::Sha256(hash)) = ContentId::parse(HEX) else { panic!() };
        hash
    }

    fn parsed(line: &str) -> Option<(Expected, String)> {
        let listed = parse(line.as_bytes(), true)?;
        Some((listed.expected, String::from_utf8(listed.name).unwrap()))
    }

    #[test]
    fn lines_of_every_known_form_are_read() {
        let either = Expected::Either(hash());
        let sha256 = Expected::Sha256(hash());
        let blake3 = Expected::Blake3(hash());
        let cid_sha256 = ContentId::Sha256(hash()).cid().unwrap();
        let cid_blake3 = ContentId::Blake3(hash()).cid().unwrap();
        for (line, expected, name) in [
            (format!("{HEX}  a b"), either, "a b"),
            (format!("{HEX} *a"), either, "a"),
            (format!("{HEX}   a"), either, " a"),
            (format!("{HEX} a"), either, "a"),
            (format!("{HEX}\ta"), either, "a"),
            (format!("  {HEX}  a "), either, "a "),
            (format!("{}  a", HEX.to_uppercase()), either, "a"),
            (format!("\\{HEX}  a\\nb\\\\"), either, "a\nb\\"),
            (format!("{HEX}  a\\nb"), either, "a\\nb"),
            (format!("blake3/{HEX}  a"), blake3, "a"),
            (format!("\\blake3/{HEX}  a\\r"), blake3, "a\r"),
            (format!("{cid_blake3}  a"), blake3, "a"),
            (format!("{cid_sha256}  a"), sha256, "a"),
            (format!("SHA256 (a) = {HEX}"), sha256, "a"),
            (format!("SHA256(a)= {HEX}"), sha256, "a"),
            (format!("SHA2-256(a)= {HEX}"), sha256, "a"),
            (format!("BLAKE3 (a (1)) = {HEX}"), blake3, "a (1)"),
            (format!("\\BLAKE3 (a\\nb) = {HEX}"), blake3, "a\nb"),
            (format!("{HEX}  x (y) = {HEX}"), either, &format!("x (y) = {HEX}")),
        ] {
            assert_eq!(parsed(&line), Some((expected, name.into())), "{line}");
        }
    }

    #[test]
    fn an_id_is_read_in_every_spelling_with_and_without_a_name_behind_it() {
        let cid = ContentId::Blake3(hash()).cid().unwrap();
        let upper = HEX.to_uppercase();
        for (spelling, expected) in [
            (HEX.to_owned(), Expected::Either(hash())),
            (upper.clone(), Expected::Either(hash())),
            (format!("sha256:{HEX}"), Expected::Sha256(hash())),
            (format!("blake3/{HEX}"), Expected::Blake3(hash())),
            (format!("BLAKE3/{upper}"), Expected::Blake3(hash())),
            (format!("blake3:{HEX}"), Expected::Blake3(hash())),
            (format!("Blake3:{HEX}"), Expected::Blake3(hash())),
            (cid, Expected::Blake3(hash())),
        ] {
            for line in [
                spelling.clone(),
                format!("  {spelling}\t"),
                format!("{spelling}  a b"),
                format!("{spelling} *a"),
                format!("{spelling}\ta"),
                format!("\\{spelling}  a\\nb"),
            ] {
                assert_eq!(id_of(line.as_bytes()), Some(expected), "{line}");
            }
            let named = [spelling.as_bytes(), b"  caf\xe9"].concat();
            assert_eq!(id_of(&named), Some(expected), "a name that is not UTF-8");
            assert_eq!(parse(&named, true).map(|listed| listed.expected), Some(expected));
        }
        for (line, expected) in [
            (format!("SHA256 (a) = {HEX}"), Expected::Sha256(hash())),
            (format!("BLAKE3 (a b) = {upper}"), Expected::Blake3(hash())),
            (format!("\\SHA256 (a\\nb) = {HEX}"), Expected::Sha256(hash())),
        ] {
            assert_eq!(id_of(line.as_bytes()), Some(expected), "{line}");
        }
        for line in ["", "a", &HEX[1..], &format!("a {HEX}"), &format!("blake3_tree_v2/{HEX}  a")] {
            assert_eq!(id_of(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_line_about_a_folder_is_none_about_a_file() {
        for (line, escapes, name) in [
            (format!("folder/{HEX}  a b"), true, "a b"),
            (format!("  folder/{} *a", HEX.to_uppercase()), true, "a"),
            (format!("\\folder/{HEX}  a\\nb"), true, "a\nb"),
            (format!("folder/{HEX}  a\\nb"), false, "a\\nb"),
        ] {
            let listed = parse_folder(line.as_bytes(), escapes).unwrap();
            assert_eq!(
                (listed.expected, &*listed.name),
                (Expected::Blake3(hash()), name.as_bytes()),
                "{line}"
            );
            assert_eq!(parse(line.as_bytes(), escapes), None, "{line}");
        }
        for line in [
            format!("blake3/{HEX}  a"),
            format!("folder/{}  a", &HEX[1..]),
            format!("folder/blake3/{HEX}  a"),
            format!("\\folder/{HEX}  a\\t"),
            format!("folder/{HEX}  "),
            "folder/  a".into(),
        ] {
            assert_eq!(parse_folder(line.as_bytes(), true), None, "{line}");
        }
        assert_eq!(parse_folder(format!("\\folder/{HEX}  a").as_bytes(), false), None);
    }

    #[test]
    fn what_is_for_people_is_told_from_what_is_for_programs() {
        let read = |line: &'static [u8]| content_of(line, false);
        assert_eq!(read(b"\xef\xbb\xbfid  a "), Some(&b"id  a "[..]), "blanks at the end belong to the name");
        assert_eq!(read(b"  id\r"), Some(&b"id"[..]));
        assert_eq!(read(b"a\r\r"), Some(&b"a\r"[..]), "one end of a line and no more");
        assert_eq!(content_of(b"a\r", true), Some(&b"a\r"[..]), "NUL ends a line by itself");
        for nothing in
            [&b""[..], b"\r", b" \t", b"#", b"# id", b"  # id", b"\xef\xbb\xbf", b"\xef\xbb\xbf# id"]
        {
            assert_eq!(content_of(nothing, false), None);
        }
        assert!(is_utf16(b"\xff\xfeb\0") && is_utf16(b"\xfe\xff\0b") && !is_utf16(b"\xef\xbb\xbfb"));
    }

    #[test]
    fn what_is_no_line_of_a_list_is_refused() {
        for line in [
            String::new(),
            "a".into(),
            HEX.into(),
            format!("{HEX} "),
            format!("{HEX}  "),
            format!("{}  a", &HEX[1..]),
            format!("{HEX}0  a"),
            format!("\\{HEX}  a\\t"),
            format!("{HEX}  a\0b"),
            format!("blake3_tree_v2/{HEX}  a"),
            format!("MD5 (a) = {HEX}"),
            format!("SHA256 (a) = {}", &HEX[1..]),
            format!("SHA256 (a) = blake3/{HEX}"),
            format!("SHA256 () = {HEX}"),
            format!("SHA256 )a( = {HEX}"),
        ] {
            assert_eq!(parsed(&line), None, "{line}");
        }
        assert_eq!(parse(format!("\\{HEX}  a").as_bytes(), false), None);
    }

    #[test]
    fn lines_are_read_one_by_one_and_endless_ones_are_skipped() {
        let long = "x".repeat(MAX_LINE_LEN as usize);
        let text = format!("a\n\n{long}\nb\n{long}y\n{}\nlast", &long[1..]);
        let mut lines = Lines::new(text.as_bytes(), false);
        for expected in [
            Line::Whole(b"a"),
            Line::Whole(b""),
            Line::TooLong,
            Line::Whole(b"b"),
            Line::TooLong,
            Line::Whole(&long.as_bytes()[1..]),
            Line::Whole(b"last"),
        ] {
            assert_eq!(lines.next_line().unwrap(), Some(expected));
        }
        assert_eq!(lines.next_line().unwrap(), None);

        let mut lines = Lines::new(&b"a\nb\0c\0"[..], true);
        assert_eq!(lines.next_line().unwrap(), Some(Line::Whole(b"a\nb")));
        assert_eq!(lines.next_line().unwrap(), Some(Line::Whole(b"c")));
        assert_eq!(lines.next_line().unwrap(), None);
    }
}
