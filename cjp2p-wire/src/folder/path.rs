//! Where something is in a folder: a path that cannot lead out of it.

use std::cmp::Ordering;
use std::fmt;

/// Longest path in bytes, what Linux takes in one system call.
pub const MAX_PATH_LEN: usize = 4095;
/// Longest part of a path in bytes, the limit of file names nearly everywhere.
pub const MAX_PART_LEN: usize = 255;

/// A path relative to a folder: 1 to [`MAX_PATH_LEN`] bytes, its parts joined by `/`, each of 1 to [`MAX_PART_LEN`] bytes without
/// NUL, none `.` or `..`. The bytes need not be UTF-8.
///
/// The order is that of the bytes, which is the order of lists. Printed, a path is one line of plain characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderPath(Box<[u8]>);

impl FolderPath {
    /// Takes `bytes` if they are such a path.
    ///
    /// # Errors
    ///
    /// Says which of the rules they break.
    pub fn new(bytes: &[u8]) -> Result<FolderPath, PathError> {
        if bytes.len() > MAX_PATH_LEN {
            return Err(PathError::TooLong);
        }
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" if bytes.is_empty() => return Err(PathError::Empty),
                b"" if bytes[0] == b'/' => return Err(PathError::Absolute),
                b"" => return Err(PathError::EmptyPart),
                b"." | b".." => return Err(PathError::Dots),
                _ if part.len() > MAX_PART_LEN => return Err(PathError::LongPart),
                _ if part.contains(&0) => return Err(PathError::Nul),
                _ => {}
            }
        }
        Ok(FolderPath(bytes.into()))
    }

    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The parts, from the top.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// The last part.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// The bytes of the path of the folder that this is in; `None` at the top.
    pub fn parent_bytes(&self) -> Option<&[u8]> {
        self.0.iter().rposition(|byte| *byte == b'/').map(|at| &self.0[..at])
    }

    /// The folder that this is in; `None` at the top.
    pub fn parent(&self) -> Option<FolderPath> {
        // What is before a slash of a path is a path.
        self.parent_bytes().map(|bytes| FolderPath(bytes.into()))
    }

    /// The path of what is at `below` in the folder at this path.
    ///
    /// # Errors
    ///
    /// Where both together are too long.
    pub fn join(&self, below: &FolderPath) -> Result<FolderPath, PathError> {
        if self.0.len() + 1 + below.0.len() > MAX_PATH_LEN {
            return Err(PathError::TooLong);
        }
        Ok(FolderPath([&self.0, &b"/"[..], &below.0].concat().into()))
    }

    /// Whether this is in the folder at `folder`, or deeper.
    pub fn is_beneath(&self, folder: &FolderPath) -> bool {
        self.0.strip_prefix(&*folder.0).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// The path from the folder at `folder` on; `None` of what is not in it.
    pub fn from_folder(&self, folder: &FolderPath) -> Option<FolderPath> {
        // What is after a slash of a path is a path.
        let rest = self.0.strip_prefix(&*folder.0)?.strip_prefix(b"/")?;
        Some(FolderPath(rest.into()))
    }

    /// The order in which a folder is at once followed by all that is in it: part by part.
    pub fn cmp_tree(&self, other: &FolderPath) -> Ordering {
        self.parts().cmp(other.parts())
    }
}

impl fmt::Display for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

/// Bytes as one line of plain characters, for people.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for letter in String::from_utf8_lossy(bytes).chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            _ if letter.is_control() || is_deceptive(letter) => text.extend(letter.escape_default()),
            _ => text.push(letter),
        }
    }
    text
}

/// Whether a letter changes how those around it are shown: line separators, and marks of the direction of writing.
pub fn is_deceptive(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Debug for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Why bytes are no path in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// There are none.
    Empty,
    /// A slash at the beginning.
    Absolute,
    /// Nothing between two slashes, or after the last.
    EmptyPart,
    /// A part `.` or `..`.
    Dots,
    /// A NUL byte.
    Nul,
    /// A part of more than [`MAX_PART_LEN`] bytes.
    LongPart,
    /// More than [`MAX_PATH_LEN`] bytes.
    TooLong,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Empty => "an empty path",
            PathError::Absolute => "an absolute path",
            PathError::EmptyPart => "a path with an empty part",
            PathError::Dots => "a path with a part . or ..",
            PathError::Nul => "a path with a NUL byte",
            PathError::LongPart => "a path with a part of more than 255 bytes",
            PathError::TooLong => "a path of more than 4095 bytes",
        })
    }
}

impl std::error::Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FolderPath {
        FolderPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn no_path_leads_out_or_is_another_spelling_of_one() {
        use PathError::*;
        let long = "a".repeat(MAX_PART_LEN);
        let longest = [&*long; 16].join("/");
        for (text, error) in [
            ("", Empty),
            ("/", Absolute),
            ("/etc", Absolute),
            ("a//b", EmptyPart),
            ("a/", EmptyPart),
            (".", Dots),
            ("..", Dots),
            ("a/../b", Dots),
            ("a/.", Dots),
            ("./a", Dots),
            ("a\0", Nul),
            (&format!("a/{long}b"), LongPart),
            (&format!("{longest}/b"), TooLong),
        ] {
            assert_eq!(FolderPath::new(text.as_bytes()), Err(error), "{text:?}");
        }
        for text in ["a", "...", "..a/.b", "-rf", " ", "a\nb", "a\\b", &long, &longest, "~", "C:"] {
            assert_eq!(path(text).as_bytes(), text.as_bytes());
        }
        assert!(FolderPath::new(b"\xff/\x80").is_ok());
        assert_eq!(path(&longest).as_bytes().len(), MAX_PATH_LEN);
        assert_eq!(path(&longest).join(&path("b")), Err(TooLong));
    }

    #[test]
    fn the_parts_of_a_path_are_told_apart() {
        let deep = path("a/b/c");
        assert_eq!(deep.name(), b"c");
        assert_eq!(deep.parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), None);
        assert_eq!(path("a").join(&path("b/c")), Ok(deep.clone()));
        assert!(deep.is_beneath(&path("a")) && deep.is_beneath(&path("a/b")));
        assert!(!deep.is_beneath(&deep) && !path("ab").is_beneath(&path("a")));
    }

    #[test]
    fn a_folder_comes_right_before_what_is_in_it_in_the_order_of_the_tree() {
        let mut paths = ["S-x", "S", "S/a", "S0", "S-x/b", "S/a/c", "S/a-"].map(path);
        paths.sort();
        assert_eq!(
            paths.each_ref().map(|at| at.to_string()),
            ["S", "S-x", "S-x/b", "S/a", "S/a-", "S/a/c", "S0"]
        );
        paths.sort_by(FolderPath::cmp_tree);
        assert_eq!(
            paths.each_ref().map(|at| at.to_string()),
            ["S", "S/a", "S/a/c", "S/a-", "S-x", "S-x/b", "S0"]
        );
    }

    #[test]
    fn a_printed_path_is_one_line_and_shows_what_is_hidden() {
        let odd = FolderPath::new("a\nb\\\u{1b}[2J\u{202e}\u{61c}é".as_bytes()).unwrap();
        assert_eq!(odd.to_string(), "a\\nb\\\\\\u{1b}[2J\\u{202e}\\u{61c}é");
        assert_eq!(FolderPath::new(b"\xff").unwrap().to_string(), "\u{fffd}");
    }
}
