//! Content ids: what a piece of content is called on the wire, on the command line and in state files.
//!
//! Every id that exists as a value is safe to print and cannot be a path out of a folder.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A 32-byte hash: SHA-256, BLAKE3, or the value of an inner node of BLAKE3's tree.
pub type Hash = [u8; 32];

/// What the wire puts before the hex digits of a BLAKE3 hash.
const BLAKE3_PREFIX: &str = "blake3/";
/// What the wire puts before the hex digits of a BLAKE3 hash to name the content's hash tree.
const TREE_PREFIX: &str = "blake3_tree_v2/";

/// Bytes before the hash in a CID: version 1, raw codec, hash function, 32 bytes of hash.
const CID_SHA256: [u8; 4] = [0x01, 0x55, 0x12, 0x20];
const CID_BLAKE3: [u8; 4] = [0x01, 0x55, 0x1e, 0x20];
/// How these bytes look in lower-case base32, with the `b` that says so.
const CID_SHA256_START: &str = "bafkrei";
const CID_BLAKE3_START: &str = "bafkr4i";
/// Letters in such a CID.
const CID_LEN: usize = 59;

/// Longest plain name in bytes, the limit of file names nearly everywhere.
pub const MAX_NAME_LEN: usize = 255;

/// What a piece of content is called.
///
/// [`Display`](fmt::Display) gives the one spelling used on the wire, and [`ContentId::parse`] takes it back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentId {
    /// `blake3/` and 64 hex digits: verified leaf by leaf.
    Blake3(Hash),
    /// 64 hex digits: SHA-256, verified only as a whole.
    Sha256(Hash),
    /// `blake3_tree_v2/` and 64 hex digits: the hash tree of that content.
    Tree(Hash),
    /// Any other name, a plain file name: nothing can be verified.
    Name(PlainName),
}

impl ContentId {
    /// Reads an id: a wire spelling, with hex digits of either case, or a CID (`bafkrei…`, `bafkr4i…`).
    ///
    /// What looks like a hash id is one, or an error, and never a plain name.
    ///
    /// # Errors
    ///
    /// Says what is wrong with a text that is neither a hash id nor a name for a [`PlainName`].
    pub fn parse(text: &str) -> Result<ContentId, ContentIdError> {
        if let Some(id) = ContentId::parse_hash(text)? {
            return Ok(id);
        }
        check_name(text)?;
        Ok(ContentId::Name(PlainName(text.into())))
    }

    /// Reads an id as people and other tools write it: beside what [`ContentId::parse`] takes, the kind of hash in either case,
    /// a colon in the place of the slash, `sha256:` before the digits of that, and the backslash with which a line of a list
    /// begins where its name is escaped. On the wire there is one spelling of each.
    ///
    /// # Errors
    ///
    /// As for [`ContentId::parse`].
    pub fn parse_any_spelling(text: &str) -> Result<ContentId, ContentIdError> {
        match text.strip_prefix('\\').map(ContentId::parse_spelling) {
            Some(Ok(id)) if !matches!(id, ContentId::Name(_)) => Ok(id),
            _ => ContentId::parse_spelling(text),
        }
    }

    fn parse_spelling(text: &str) -> Result<ContentId, ContentIdError> {
        let Some((kind, digits)) = text.split_once(['/', ':']) else { return ContentId::parse(text) };
        let of_kind = match kind.to_ascii_lowercase().as_str() {
            "blake3" => ContentId::Blake3,
            "blake3_tree_v2" => ContentId::Tree,
            "sha256" => ContentId::Sha256,
            _ => return ContentId::parse(text),
        };
        hex(digits).map(of_kind).ok_or(ContentIdError::HexDigits)
    }

    /// Reads what looks like a hash id, `None` where `text` does not.
    fn parse_hash(text: &str) -> Result<Option<ContentId>, ContentIdError> {
        let whole = |digits| hex(digits).ok_or(ContentIdError::HexDigits);
        if let Some(digits) = text.strip_prefix(BLAKE3_PREFIX) {
            return whole(digits).map(|hash| Some(ContentId::Blake3(hash)));
        }
        if let Some(digits) = text.strip_prefix(TREE_PREFIX) {
            return whole(digits).map(|hash| Some(ContentId::Tree(hash)));
        }
        if let Some(hash) = hex(text) {
            return Ok(Some(ContentId::Sha256(hash)));
        }
        if text.rsplit_once('/').is_some_and(|(_, digits)| hex(digits).is_some()) {
            return Err(ContentIdError::Prefix);
        }
        let is_cid = text.starts_with(CID_SHA256_START) || text.starts_with(CID_BLAKE3_START);
        if is_cid && text.len() == CID_LEN {
            return parse_cid(text).map(Some).ok_or(ContentIdError::Cid);
        }
        Ok(None)
    }

    /// The id as a CID in DASL's form: version 1, raw codec, lower-case base32. Trees and names have none.
    pub fn cid(&self) -> Option<String> {
        let (start, hash) = match self {
            ContentId::Blake3(hash) => (CID_BLAKE3, hash),
            ContentId::Sha256(hash) => (CID_SHA256, hash),
            ContentId::Tree(_) | ContentId::Name(_) => return None,
        };
        let mut text = BASE32_NOPAD.encode(&[&start[..], hash].concat());
        text.make_ascii_lowercase();
        text.insert(0, 'b');
        Some(text)
    }
}

/// 64 hex digits of either case.
fn hex(digits: &str) -> Option<Hash> {
    if digits.len() != 64 {
        return None;
    }
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
}

/// Only the canonical spelling: lower case, and zero in the bits that the last letter has too many.
fn parse_cid(text: &str) -> Option<ContentId> {
    let letters = text.strip_prefix('b')?;
    if letters.bytes().any(|letter| letter.is_ascii_uppercase()) {
        return None;
    }
    let bytes = BASE32_NOPAD.decode(letters.to_ascii_uppercase().as_bytes()).ok()?;
    let (start, hash) = bytes.split_first_chunk::<4>()?;
    let hash = hash.try_into().ok()?;
    match *start {
        CID_BLAKE3 => Some(ContentId::Blake3(hash)),
        CID_SHA256 => Some(ContentId::Sha256(hash)),
        _ => None,
    }
}

impl FromStr for ContentId {
    type Err = ContentIdError;

    fn from_str(text: &str) -> Result<ContentId, ContentIdError> {
        ContentId::parse(text)
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentId::Blake3(hash) => write!(f, "{BLAKE3_PREFIX}{}", HEXLOWER.encode(hash)),
            ContentId::Sha256(hash) => f.write_str(&HEXLOWER.encode(hash)),
            ContentId::Tree(hash) => write!(f, "{TREE_PREFIX}{}", HEXLOWER.encode(hash)),
            ContentId::Name(name) => f.write_str(name.as_str()),
        }
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ContentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ContentId, D::Error> {
        let text = String::deserialize(deserializer)?;
        ContentId::parse(&text).map_err(de::Error::custom)
    }
}

/// A name that cannot be a path: 1 to [`MAX_NAME_LEN`] bytes, no `/`, `\`, NUL or other control character, neither
/// `.` nor `..`, and nothing that looks like a hash id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainName(Box<str>);

impl PlainName {
    /// Takes `name` if it is one.
    ///
    /// # Errors
    ///
    /// Says which of the rules it breaks.
    pub fn new(name: &str) -> Result<PlainName, ContentIdError> {
        match ContentId::parse(name)? {
            ContentId::Name(name) => Ok(name),
            _ => Err(ContentIdError::NameIsHash),
        }
    }

    /// The name as it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_name(name: &str) -> Result<(), ContentIdError> {
    match name {
        "" => Err(ContentIdError::Empty),
        "." | ".." => Err(ContentIdError::Dots),
        _ if name.len() > MAX_NAME_LEN => Err(ContentIdError::TooLong),
        _ if name.contains(['/', '\\']) => Err(ContentIdError::Separator),
        _ if name.contains(char::is_control) => Err(ContentIdError::Control),
        _ => Ok(()),
    }
}

impl fmt::Display for PlainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PlainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no content id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentIdError {
    /// There is nothing.
    Empty,
    /// `blake3/` or `blake3_tree_v2/` without exactly 64 hex digits after it.
    HexDigits,
    /// A hash after something else.
    Prefix,
    /// Shaped like a CID, but not the canonical spelling of one.
    Cid,
    /// `.` or `..`.
    Dots,
    /// A name longer than [`MAX_NAME_LEN`] bytes.
    TooLong,
    /// A slash or backslash in a name.
    Separator,
    /// NUL or another control character in a name.
    Control,
    /// A plain name was wanted, and this is the id of a hash.
    NameIsHash,
}

impl fmt::Display for ContentIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContentIdError::Empty => "an empty content id",
            ContentIdError::HexDigits => "a hash of other than 64 hex digits",
            ContentIdError::Prefix => {
                "a hash after something else than blake3/; a SHA-256 id is its 64 digits alone"
            }
            ContentIdError::Cid => "a damaged CID",
            ContentIdError::Dots => "a name of dots only",
            ContentIdError::TooLong => "a name of more than 255 bytes",
            ContentIdError::Separator => "a slash in a name",
            ContentIdError::Control => "a control character in a name",
            ContentIdError::NameIsHash => "the id of a hash, not a plain name",
        })
    }
}

impl std::error::Error for ContentIdError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_id() -> impl Strategy<Value = ContentId> {
        prop_oneof![
            any::<Hash>().prop_map(ContentId::Blake3),
            any::<Hash>().prop_map(ContentId::Sha256),
            any::<Hash>().prop_map(ContentId::Tree),
            ".{1,40}".prop_filter_map("a plain name", |name| PlainName::new(&name).ok().map(ContentId::Name)),
        ]
    }

    proptest! {
        #[test]
        fn every_id_reads_back_from_its_spelling(id in any_id()) {
            prop_assert_eq!(ContentId::parse(&id.to_string()), Ok(id.clone()));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<ContentId>(&json).unwrap(), id);
        }

        #[test]
        fn every_cid_reads_back_and_no_other_spelling_of_it_does(hash: Hash, blake3: bool, at in 0..CID_LEN, letter in "[!-~]") {
            let id = if blake3 { ContentId::Blake3(hash) } else { ContentId::Sha256(hash) };
            let mut text = id.cid().unwrap();
            prop_assert_eq!(ContentId::parse(&text), Ok(id.clone()));
            let other = text[at..=at] != letter;
            text.replace_range(at..=at, &letter);
            prop_assert_eq!(ContentId::parse(&text) == Ok(id), !other);
        }

        #[test]
        fn whatever_parses_is_printed_in_one_canonical_way(text in "\\PC{0,300}|[./a-zA-Z0-9]{0,8}") {
            if let Ok(id) = ContentId::parse(&text) {
                prop_assert_eq!(ContentId::parse(&id.to_string()), Ok(id));
            }
        }
    }

    #[test]
    fn upper_case_hex_is_read_and_printed_lower_case() {
        let digits = "AB".repeat(32);
        for prefix in ["", "blake3/", "blake3_tree_v2/"] {
            let id = ContentId::parse(&format!("{prefix}{digits}")).unwrap();
            assert_eq!(id.to_string(), format!("{prefix}{}", digits.to_lowercase()));
        }
    }

    #[test]
    fn people_may_spell_an_id_in_more_ways_than_nodes() {
        let (digits, hash) = ("Ab".repeat(32), [0xab; 32]);
        for (kind, id) in [
            ("blake3", ContentId::Blake3(hash)),
            ("sha256", ContentId::Sha256(hash)),
            ("blake3_tree_v2", ContentId::Tree(hash)),
        ] {
            for kind in [kind.to_owned(), kind.to_uppercase()] {
                for text in [format!("{kind}/{digits}"), format!("{kind}:{digits}")] {
                    assert_eq!(ContentId::parse_any_spelling(&text), Ok(id.clone()), "{text}");
                    assert_eq!(ContentId::parse_any_spelling(&format!("\\{text}")), Ok(id.clone()), "{text}");
                    let wrong = &text[..text.len() - 1];
                    assert_eq!(ContentId::parse_any_spelling(wrong), Err(ContentIdError::HexDigits));
                }
            }
        }
        for text in [&*digits, &format!("blake3/{digits}"), "a: b", "md5:x", "../x", "\\a", "\\\\a", ""] {
            assert_eq!(ContentId::parse_any_spelling(text), ContentId::parse(text), "{text}");
        }
        assert!(
            ContentId::parse(&format!("blake3:{digits}")).is_ok_and(|id| matches!(id, ContentId::Name(_)))
        );
    }

    #[test]
    fn what_could_be_a_path_or_another_id_space_is_refused() {
        use ContentIdError::*;
        let hex = "0".repeat(64);
        for (text, error) in [
            (String::new(), Empty),
            (".".into(), Dots),
            ("..".into(), Dots),
            ("../etc/passwd".into(), Separator),
            ("/latest/x".into(), Separator),
            (format!("stream/{hex}/radio"), Separator),
            (format!("./blake3/{hex}"), Prefix),
            (format!("BLAKE3/{hex}"), Prefix),
            (format!("sha256/{hex}"), Prefix),
            (format!("sha256/{hex}0"), Separator),
            ("a\\b".into(), Separator),
            ("a\0b".into(), Control),
            ("line\nbreak".into(), Control),
            ("\u{9b}2J".into(), Control),
            ("x".repeat(256), TooLong),
            ("blake3/".into(), HexDigits),
            (format!("blake3/{hex}0"), HexDigits),
            (format!("blake3/{}g", &hex[1..]), HexDigits),
            (format!("blake3_tree_v2/{}", &hex[1..]), HexDigits),
            (format!("bafkrei{}", "b".repeat(52)), Cid),
            (format!("bafkr4i{}", "A".repeat(52)), Cid),
        ] {
            assert_eq!(ContentId::parse(&text), Err(error), "{text:?}");
        }
        assert_eq!(PlainName::new(&hex), Err(NameIsHash));
        assert_eq!(PlainName::new(&"é".repeat(127)).unwrap().as_str(), "é".repeat(127));
        assert_eq!(PlainName::new("...").unwrap().as_str(), "...");
    }
}
