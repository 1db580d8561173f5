//! Lists of folders: whatever they say, what is read from them is a folder, in order, and can be written down again.
//!
//! The input is lists, with a zero byte between them; the folder is that of the first. `@2` in one of them, if it comes before the
//! list numbered 2, stands for how that list is referred to, as nobody guesses hashes.

use std::collections::BTreeMap;
use std::convert::Infallible;

use cjp2p_wire::folder::{
    Builder, Entry, FolderPath, Kind, ListRef, MAX_LIST, Step, Walk, leads_out, read_list, reference_of,
};
use data_encoding::HEXLOWER;

/// Entries that are looked at: a few lists can stand for very many.
const MOST: usize = 5_000;

type Lists = BTreeMap<ListRef, Vec<u8>>;

pub(super) fn body(bytes: &[u8]) {
    let mut lists = Lists::new();
    let mut references: Vec<ListRef> = Vec::new();
    // From the last on, so that each can refer to those after it.
    let texts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    for text in texts.iter().rev() {
        let text = filled_in(text, &references);
        look_at_list(&text);
        let list = reference_of(&text);
        references.insert(0, list);
        lists.insert(list, text);
    }
    let Some(entries) = walked(references[0], &lists) else { return };
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|one, other| one.path.cmp_tree(&other.path));
    let mut made = Lists::new();
    let mut builder = Builder::new(|text: &[u8]| {
        assert!(text.len() <= MAX_LIST);
        let list = reference_of(text);
        made.insert(list, text.to_vec());
        Ok::<_, Infallible>(list)
    });
    for entry in sorted {
        builder.push(entry).expect("what was read makes a folder");
    }
    let list = builder.finish().expect("nothing fails");
    assert_eq!(walked(list, &made).as_ref(), Some(&entries), "it reads back otherwise");
}

/// `following` are the lists after this one; `@1` is the next.
fn filled_in(text: &[u8], following: &[ListRef]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text.iter().peekable();
    while let Some(byte) = rest.next() {
        let list = rest.peek().and_then(|digit| char::from(**digit).to_digit(10)).filter(|_| *byte == b'@');
        match list.and_then(|number| following.get((number as usize).checked_sub(1)?)) {
            Some(list) => {
                rest.next();
                let hex = HEXLOWER.encode(&list.root);
                filled
                    .extend_from_slice(format!("\"length\":{},\"blake3\":\"{hex}\"", list.length).as_bytes());
            }
            None => filled.push(*byte),
        }
    }
    filled
}

fn look_at_list(text: &[u8]) {
    let mut written = Vec::new();
    for entry in read_list(text) {
        match entry {
            Ok(entry) => {
                entry.write(&mut written);
                assert!(text.starts_with(&written), "it is written otherwise");
                assert!(!entry.path.to_string().chars().any(char::is_control));
                if let Kind::Link { target } = &entry.kind {
                    look_at_link(&entry.path, target);
                }
            }
            Err(error) => {
                assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
                return;
            }
        }
    }
    assert_eq!(written, text);
}

/// A link that does not lead out stays inside whatever the folders on its way are: here, links to the top.
fn look_at_link(path: &FolderPath, target: &[u8]) {
    if leads_out(path, target) {
        return;
    }
    assert!(!target.starts_with(b"/"));
    let mut above = path.parts().count() - 1;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => above = above.checked_sub(1).expect("it leads out"),
            _ => above = 0,
        }
    }
}

/// All entries, unless something is wrong, missing, or there are too many.
fn walked(list: ListRef, lists: &Lists) -> Option<Vec<Entry>> {
    let mut walk = Walk::new(list);
    let mut entries: Vec<Entry> = Vec::new();
    let mut folders: BTreeMap<FolderPath, bool> = BTreeMap::new();
    loop {
        match walk.step().ok()? {
            Step::List(list) => walk.give(lists.get(&list)?.clone()).ok()?,
            Step::Entry(mut entry) => {
                assert!(entries.last().is_none_or(|last| last.path < entry.path), "not in order");
                assert!(entries.last().is_none_or(|last| last.mtime.is_some() == entry.mtime.is_some()));
                assert!(entry.path.parent().is_none_or(|parent| folders.get(&parent) == Some(&true)));
                folders.insert(entry.path.clone(), matches!(entry.kind, Kind::Folder { .. }));
                match &mut entry.kind {
                    Kind::Folder { list } => *list = None,
                    Kind::Part(_) => panic!("a part is no entry"),
                    _ => {}
                }
                entries.push(entry);
                if entries.len() > MOST {
                    return None;
                }
            }
            Step::End => return Some(entries),
        }
    }
}
