//! Lists of ids and names: lines are bounded and none is lost, and what one says, printed as we print it, reads the same.

use cjp2p_cli::list::{Expected, Line, Lines, content_of, id_of, parse};
use cjp2p_io::names;
use cjp2p_wire::content_id::ContentId;

use super::input::Input;

/// No line of a list is longer, in bytes.
const MAX_LINE: usize = 64 << 10;

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let (end, escapes) = if kind & 1 != 0 { (0, false) } else { (b'\n', true) };
    // A line that is too long would need an input that is: a few bytes stand for many.
    let mut long = if kind & 2 != 0 { 4 } else { 0 };
    let mut text = Vec::new();
    for &byte in input.rest() {
        let is_long = byte == 0xff && long > 0;
        long -= usize::from(is_long);
        text.extend(std::iter::repeat_n(byte, if is_long { 30_000 } else { 1 }));
    }
    let mut expected = text.split(|byte| *byte == end).collect::<Vec<_>>();
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    let mut lines = Lines::new(&text[..], end == 0);
    for (n, line) in expected.iter().enumerate() {
        let is_last = n + 1 == expected.len() && text.last() != Some(&end);
        match lines.next_line().expect("memory can be read") {
            Some(Line::Whole(whole)) => {
                assert_eq!(whole, *line);
                assert!(whole.len() < MAX_LINE);
                judge(whole, escapes);
            }
            Some(Line::TooLong) => assert!(line.len() >= MAX_LINE, "{} bytes are too long", line.len()),
            None => panic!("line {n} of {} is lost (the last: {is_last})", expected.len()),
        }
    }
    assert_eq!(lines.next_line().expect("memory can be read"), None);
}

fn judge(line: &[u8], escapes: bool) {
    let Some(line) = content_of(line, !escapes) else { return };
    let id = id_of(line);
    let Some(listed) = parse(line, escapes) else { return };
    assert_eq!(id, Some(listed.expected), "both read the same id");
    assert!(!listed.name.is_empty() && !listed.name.contains(&0));
    let id = match listed.expected {
        Expected::Blake3(hash) => ContentId::Blake3(hash).to_string(),
        Expected::Either(hash) => ContentId::Sha256(hash).to_string(),
        // In hex it would not say that it is not BLAKE3.
        Expected::Sha256(hash) => ContentId::Sha256(hash).cid().expect("a SHA-256 hash has a CID"),
    };
    let (escaped, marked) = names::escape(&listed.name);
    let start = format!("{}{id}  ", if marked { "\\" } else { "" });
    let printed = [start.as_bytes(), &escaped].concat();
    assert_eq!(parse(&printed, true).as_ref(), Some(&listed), "{:?}", String::from_utf8_lossy(&printed));
}
