//! Names under a key: what a pointer is asked for by.

use std::fmt;

use super::key::PublicKey;

/// What people write before the key.
const PREFIX: &str = "latest/";
/// The longest name that is asked for, in bytes.
pub const MAX_NAME_LEN: usize = 255;
/// The longest that is given, and the longest part of it between slashes: nodes of others make file names of them.
const MAX_GIVEN_LEN: usize = 190;
/// How many names a text may stand for: itself, and what it begins with.
pub const MAX_CANDIDATES: usize = 8;

/// A name as it is on the wire: parts joined by `/`, none of which is empty or begins with a dot; no `\` and no control character;
/// [`MAX_NAME_LEN`] bytes at the most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointerName(Box<str>);

impl PointerName {
    /// Takes `name` if it is one.
    ///
    /// # Errors
    ///
    /// Says which of the rules it breaks.
    pub fn new(name: &str) -> Result<PointerName, NameError> {
        if name.len() > MAX_NAME_LEN {
            return Err(NameError::TooLong);
        }
        if name.contains(|c: char| c == '\\' || c.is_control()) {
            return Err(NameError::Character);
        }
        for part in name.split('/') {
            match part.bytes().next() {
                None => return Err(NameError::Empty),
                Some(b'.') => return Err(NameError::Dot),
                Some(_) => {}
            }
        }
        Ok(PointerName(name.into()))
    }

    /// The same for a name that somebody gives: only what every node can be asked for, and a browser asks for unchanged. Letters,
    /// digits and `._~-/+@=`, 190 bytes at the most.
    ///
    /// # Errors
    ///
    /// Says which of the rules it breaks.
    pub fn to_give(name: &str) -> Result<PointerName, NameError> {
        if name.len() > MAX_GIVEN_LEN {
            return Err(NameError::TooLong);
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-/+@=".contains(&byte)) {
            return Err(NameError::Character);
        }
        PointerName::new(name)
    }

    /// The name as it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What of this name is left after `folder` and a slash; `None` where it does not lie below.
    pub fn below(&self, folder: &PointerName) -> Option<&str> {
        self.0.strip_prefix(folder.as_str())?.strip_prefix('/')
    }
}

impl fmt::Display for PointerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PointerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A name under a key: `latest/KEY/NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointerId {
    /// Who says what the name stands for.
    pub key: PublicKey,
    /// The name.
    pub name: PointerName,
}

impl PointerId {
    /// Reads `latest/KEY/NAME`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with a text that is none.
    pub fn parse(text: &str) -> Result<PointerId, NameError> {
        let (key, name) = split(text)?;
        Ok(PointerId { key, name: PointerName::new(name)? })
    }

    /// What `latest/KEY/NAME` may stand for, the likeliest first: the name itself; then each folder in which the rest may be a path,
    /// the longest first. Of more than [`MAX_CANDIDATES`] the shortest are kept beside the name itself. A slash at the end says
    /// that a folder is meant, and changes nothing.
    ///
    /// # Errors
    ///
    /// As for [`PointerId::parse`]; and where even the shortest is too long for a name.
    pub fn candidates(text: &str) -> Result<Vec<(PointerId, String)>, NameError> {
        let (key, whole) = split(text)?;
        let whole = whole.strip_suffix('/').unwrap_or(whole);
        let slashes = whole.match_indices('/').map(|(at, _)| at).take(MAX_CANDIDATES - 1);
        let mut found = Vec::new();
        let mut refused = None;
        for end in slashes.chain([whole.len()]) {
            match PointerName::new(&whole[..end]) {
                Ok(name) => {
                    let rest = whole[end..].strip_prefix('/').unwrap_or_default().to_owned();
                    found.push((PointerId { key, name }, rest));
                }
                Err(error) => refused = Some(error),
            }
        }
        // A part that no name may have can still be in the path, but not in all of them.
        match (found.is_empty(), refused) {
            (true, Some(error)) => Err(error),
            _ => {
                found.reverse();
                Ok(found)
            }
        }
    }

    /// Whether people mean a name under a key by this text.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

fn split(text: &str) -> Result<(PublicKey, &str), NameError> {
    let rest = text.strip_prefix(PREFIX).ok_or(NameError::Prefix)?;
    let (key, name) = rest.split_once('/').ok_or(NameError::Empty)?;
    Ok((PublicKey::parse(key).ok_or(NameError::Key)?, name))
}

impl fmt::Display for PointerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.key, self.name)
    }
}

impl fmt::Debug for PointerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{:?}", self.key, self.name)
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It does not begin with `latest/`.
    Prefix,
    /// No 64 hex digits for the key.
    Key,
    /// There is nothing, or nothing between two slashes.
    Empty,
    /// A part begins with a dot.
    Dot,
    /// Too many bytes.
    TooLong,
    /// A character that is not allowed.
    Character,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Prefix => "a name under a key is latest/KEY/NAME",
            NameError::Key => "a key of other than 64 hex digits",
            NameError::Empty => "an empty name, or an empty part of one",
            NameError::Dot => "a name, or a part of one, that begins with a dot",
            NameError::TooLong => "a name that is too long",
            NameError::Character => "a character that no name may have",
        })
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";

    #[test]
    fn what_is_no_name_is_refused_for_its_reason() {
        for (name, error) in [
            ("", NameError::Empty),
            ("/a", NameError::Empty),
            ("a/", NameError::Empty),
            ("a//b", NameError::Empty),
            (".a", NameError::Dot),
            ("a/../b", NameError::Dot),
            ("a\\b", NameError::Character),
            ("a\0b", NameError::Character),
            ("a\nb", NameError::Character),
            (&"x".repeat(256), NameError::TooLong),
        ] {
            assert_eq!(PointerName::new(name), Err(error), "{name:?}");
            assert!(PointerName::to_give(name).is_err(), "{name:?}");
        }
        for name in ["a b", "é", "a?b", "a%20b", "a#b"] {
            assert!(PointerName::new(name).is_ok());
            assert_eq!(PointerName::to_give(name), Err(NameError::Character), "{name:?}");
        }
        assert_eq!(PointerName::to_give(&"x".repeat(191)), Err(NameError::TooLong));
        assert!(PointerName::to_give("site/v1.0/a_b~c-d+e@f=g").is_ok());
    }

    #[test]
    fn a_name_is_looked_for_by_itself_first_and_then_by_the_longest_folder() {
        let names = |text: &str| {
            let found = PointerId::candidates(&format!("latest/{KEY}/{text}"));
            found.map(|found| {
                found.into_iter().map(|(id, rest)| (id.name.to_string(), rest)).collect::<Vec<_>>()
            })
        };
        let pairs = |pairs: &[(&str, &str)]| {
            Ok(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
        };
        assert_eq!(names("site"), pairs(&[("site", "")]));
        assert_eq!(names("site/"), pairs(&[("site", "")]));
        assert_eq!(
            names("site/a/b.html"),
            pairs(&[("site/a/b.html", ""), ("site/a", "b.html"), ("site", "a/b.html")])
        );
        // In a folder there may be what no name may have.
        assert_eq!(names("site/.well-known/x"), pairs(&[("site", ".well-known/x")]));
        assert_eq!(names(".x/site"), Err(NameError::Dot));
        assert_eq!(names(""), Err(NameError::Empty));
        let deep = ["a"; 40].join("/");
        let found = names(&deep).unwrap();
        assert_eq!((found.len(), &*found[0].0, &*found[7].0), (MAX_CANDIDATES, &*deep, "a"));
        let long = format!("site/{}", "x".repeat(300));
        assert_eq!(names(&long), pairs(&[("site", &"x".repeat(300))]));
    }

    #[test]
    fn an_id_that_is_wrong_says_where() {
        for (text, error) in [
            ("blake3/x", NameError::Prefix),
            ("latest/x", NameError::Empty),
            ("latest/x/y", NameError::Key),
            (&format!("latest/{KEY}/"), NameError::Empty),
        ] {
            assert_eq!(PointerId::parse(text), Err(error), "{text}");
        }
        let upper = format!("latest/{}/a", KEY.to_uppercase());
        assert_eq!(PointerId::parse(&upper).unwrap().to_string(), format!("latest/{KEY}/a"));
    }

    proptest! {
        #[test]
        fn every_name_reads_back_and_none_is_a_path_out(name in "\\PC{0,20}|[./a\\\\]{0,8}") {
            if let Ok(read) = PointerName::new(&name) {
                prop_assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".." || part.is_empty()));
                let id = PointerId { key: PublicKey::parse(KEY).unwrap(), name: read };
                prop_assert_eq!(PointerId::parse(&id.to_string()), Ok(id));
            }
        }
    }
}
