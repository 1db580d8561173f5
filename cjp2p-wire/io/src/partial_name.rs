//! The names of downloads in progress: one place, so that what one tool writes no other tool shares.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

/// What a download in progress is called after the name it will have.
pub const PART_SUFFIX: &str = ".cjp2p-part";

/// What the record of a download in progress is called after the name that the download will have.
pub const RESUME_SUFFIX: &str = ".cjp2p-resume";

/// The folder, within one that is fetched as a whole, where its files are until all is there.
pub const STAGING_FOLDER: &str = ".cjp2p-partial";

/// What is appended at most: a record is made under a name of its own.
const LONGEST_SUFFIX: usize = 2 * RESUME_SUFFIX.len();
/// The longest name that any file system of ours takes, in bytes.
const NAME_MAX: usize = 255;
/// Digits of its hash that stand for the end of a long name.
const MARK_DIGITS: usize = 16;

/// What the suffixes are appended to where a download will be `path`: that path itself, unless the names would become too long
/// for the file system. Then a hash of the name takes the place of its end.
pub fn unfinished(path: &Path) -> PathBuf {
    match path.file_name() {
        Some(name) => path.with_file_name(shortened(name, longest_name(path).saturating_sub(LONGEST_SUFFIX))),
        None => path.to_owned(),
    }
}

/// How long a name may be in the folder of `path`, or in the next one above that is there.
fn longest_name(path: &Path) -> usize {
    let there = path.ancestors().skip(1).map(|folder| if folder == "" { Path::new(".") } else { folder });
    let found = there.filter_map(|folder| statvfs(folder).ok()).next();
    let most = found.and_then(|found| usize::try_from(found.f_namemax).ok()).filter(|most| *most > 0);
    most.unwrap_or(NAME_MAX).min(NAME_MAX)
}

fn shortened(name: &OsStr, most: usize) -> OsString {
    let bytes = name.as_bytes();
    if bytes.len() <= most {
        return name.to_owned();
    }
    let is_inside_character = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = most.saturating_sub(MARK_DIGITS + 1);
    // A character has four bytes at most.
    let end = (end.saturating_sub(3)..=end).rev().find(|at| !is_inside_character(*at)).unwrap_or(end);
    let mut short = OsStr::from_bytes(&bytes[..end]).to_owned();
    short.push("~");
    short.push(&blake3::hash(bytes).to_hex()[..MARK_DIGITS]);
    short
}

/// Whether a file of this name is a download in progress, or the record of one, or a folder of this name is for such files.
pub fn is_partial(file_name: &OsStr) -> bool {
    let name = file_name.as_bytes();
    name == STAGING_FOLDER.as_bytes()
        || name.ends_with(PART_SUFFIX.as_bytes())
        || name.ends_with(RESUME_SUFFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_leave_room_for_the_suffixes_and_differ_where_their_ends_do() {
        let names = ["x".repeat(230), "x".repeat(255), "\u{6f22}".repeat(85), "\u{1f600}".repeat(63)];
        let mut short = Vec::new();
        let with_another_end = |name: &String| {
            let mut other = name.clone();
            other.pop();
            other + "y"
        };
        for name in names.iter().flat_map(|name| [name.clone(), with_another_end(name)]) {
            let path = unfinished(Path::new(&name));
            let text = path.to_str().expect("it is cut between characters");
            assert!(text.len() + LONGEST_SUFFIX <= NAME_MAX, "{text}");
            short.push(text.to_owned());
        }
        short.sort();
        short.dedup();
        assert_eq!(short.len(), 8, "{short:?}");
        assert_eq!(unfinished(Path::new("some/folder/a.iso")), Path::new("some/folder/a.iso"));
        assert_eq!(unfinished(Path::new("/nowhere/a.iso")), Path::new("/nowhere/a.iso"));
        let other = OsStr::from_bytes(&[0x80; 255]);
        assert!(unfinished(Path::new(other)).as_os_str().len() <= NAME_MAX - LONGEST_SUFFIX);
        // Where a file system takes less.
        assert_eq!(shortened(OsStr::new(&"x".repeat(143)), 143 - LONGEST_SUFFIX).len(), 143 - LONGEST_SUFFIX);
    }

    #[test]
    fn only_the_suffix_or_the_folder_marks_a_partial_download() {
        assert!(is_partial(OsStr::new("a.iso.cjp2p-part")));
        assert!(is_partial(OsStr::new("a.iso.cjp2p-resume")));
        assert!(is_partial(OsStr::from_bytes(b"\xff.cjp2p-part")));
        assert!(!is_partial(OsStr::new("a.cjp2p-part.iso")));
        assert!(is_partial(OsStr::new(".cjp2p-partial")));
        assert!(!is_partial(OsStr::new("cjp2p-partial")));
        assert!(!is_partial(OsStr::new("part")));
    }
}
