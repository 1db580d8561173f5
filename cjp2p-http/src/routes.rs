//! What a path asks for.

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::signed::PublicKey;
use percent_encoding::percent_decode_str;

use crate::guard::Host;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The page about what goes on.
    Status,
    /// The same for programs.
    StatusJson,
    /// The same as it changes, line by line.
    Events,
    /// The same for Prometheus.
    Metrics,
    /// Content by its hash, and the name that it is to have.
    Content {
        /// Its id.
        id: ContentId,
        /// The name that the path ends with.
        name: Option<String>,
    },
    /// Something in a folder.
    Folder {
        /// The id of the folder: `folder/HEX`, or what a name stands for.
        root: Root,
        /// The path below it: its parts, which need not be UTF-8. Empty for the folder itself.
        path: Vec<Vec<u8>>,
        /// The path ends with a slash: a folder is meant.
        is_folder: bool,
    },
    /// A live stream: `stream/KEY/NAME`.
    Stream(String),
}

/// Which folder, or other content that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A folder by the hash of its list.
    Folder([u8; 32]),
    /// The newest of `latest/KEY/`; its name is at the beginning of the path.
    Latest(PublicKey),
}

/// Why a path leads nowhere, for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nowhere {
    /// The status to answer with.
    pub status: u16,
    /// What is wrong.
    pub why: &'static str,
}

const fn nowhere(why: &'static str) -> Nowhere {
    Nowhere { status: 404, why }
}

/// No deeper path can be in a folder.
const MAX_PARTS: usize = 256;

/// Reads the path of a request to this host.
///
/// # Errors
///
/// Where it leads nowhere.
pub fn route(host: &Host, path: &str) -> Result<Target, Nowhere> {
    let mut parts = Vec::new();
    for part in path.strip_prefix('/').ok_or(nowhere("a path begins with a slash"))?.split('/') {
        let decoded: Vec<u8> = percent_decode_str(part).collect();
        if decoded.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(nowhere("a name in the path has a slash in it"));
        }
        if parts.len() == MAX_PARTS {
            return Err(nowhere("the path is too deep"));
        }
        parts.push(decoded);
    }
    let is_folder = parts.last().is_some_and(Vec::is_empty);
    if is_folder {
        parts.pop();
    }
    if let Host::Site(key) = host {
        // A site is what is under a key: /NAME/path.
        return Ok(Target::Folder { root: Root::Latest(*key), path: parts, is_folder });
    }
    let words: Vec<_> = parts.iter().map(|part| String::from_utf8_lossy(part)).collect();
    let words: Vec<&str> = words.iter().map(|word| &**word).collect();
    match &words[..] {
        [] => Ok(Target::Status),
        ["status.json"] => Ok(Target::StatusJson),
        ["events"] => Ok(Target::Events),
        ["metrics"] => Ok(Target::Metrics),
        ["folder", digits, ..] => {
            let ContentId::Blake3(root) = hash_id("blake3", digits)? else { return Err(nowhere(HASH)) };
            Ok(Target::Folder { root: Root::Folder(root), path: parts[2..].to_vec(), is_folder })
        }
        ["latest", key, ..] => {
            let key = PublicKey::parse(key).ok_or(nowhere("after latest/ comes a key of 64 hex digits"))?;
            Ok(Target::Folder { root: Root::Latest(key), path: parts[2..].to_vec(), is_folder })
        }
        ["stream", _, _, ..] => Ok(Target::Stream(words.join("/"))),
        ["magnet", ..] => Err(Nowhere { status: 501, why: "torrents are not served here" }),
        [kind @ ("blake3" | "sha256"), digits, name @ ..] => content(hash_id(kind, digits)?, name, is_folder),
        [id, name @ ..] => match ContentId::parse(id) {
            Ok(id @ (ContentId::Sha256(_) | ContentId::Blake3(_))) => content(id, name, is_folder),
            _ => Err(nowhere(
                "nothing is here: paths are /blake3/HEX, /HEX, /CID, /folder/..., /latest/..., /stream/...",
            )),
        },
    }
}

/// The last part of a path, if that is all of it: the name of a file that is sent.
pub fn last_part(path: &str) -> Option<String> {
    let part = path.strip_prefix('/').filter(|part| !part.is_empty() && !part.contains('/'))?;
    percent_decode_str(part).decode_utf8().ok().map(|name| name.into_owned())
}

const HASH: &str = "a hash is 64 hex digits";

fn hash_id(kind: &str, digits: &str) -> Result<ContentId, Nowhere> {
    ContentId::parse_any_spelling(&format!("{kind}/{digits}")).map_err(|_| nowhere(HASH))
}

fn content(id: ContentId, name: &[&str], is_folder: bool) -> Result<Target, Nowhere> {
    match (name, is_folder) {
        ([], false) => Ok(Target::Content { id, name: None }),
        ([name], false) => Ok(Target::Content { id, name: Some((*name).to_owned()) }),
        _ => Err(nowhere("after an id comes one name; what is in a folder is at /folder/HEX/path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Result<Target, u16> {
        route(&Host::Here, path).map_err(|nowhere| nowhere.status)
    }

    const HEX: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";

    fn hash() -> [u8; 32] {
        [0, 255].repeat(16).try_into().unwrap()
    }

    #[test]
    fn ids_are_found_in_all_their_spellings() {
        let content = |id, name: Option<&str>| Ok(Target::Content { id, name: name.map(str::to_owned) });
        let (blake3, sha256) = (ContentId::Blake3(hash()), ContentId::Sha256(hash()));
        assert_eq!(at(&format!("/blake3/{HEX}")), content(blake3.clone(), None));
        assert_eq!(
            at(&format!("/blake3/{}/a%20%C3%A9.mkv", HEX.to_uppercase())),
            content(blake3.clone(), Some("a é.mkv"))
        );
        assert_eq!(at(&format!("/sha256/{HEX}/x")), content(sha256.clone(), Some("x")));
        assert_eq!(at(&format!("/{HEX}")), content(sha256.clone(), None));
        assert_eq!(at(&format!("/{}/n", blake3.cid().unwrap())), content(blake3, Some("n")));
        assert_eq!(at(&format!("/{}", sha256.cid().unwrap())), content(sha256, None));
        for path in [
            "/hello.txt",
            "/blake3",
            "/blake3/",
            "/blake3/00",
            "x",
            "/%ff",
            "//",
            "/latest",
            "/latest/00/x",
            &format!("/blake3_tree_v2/{HEX}"),
            &format!("/blake3/{HEX}/"),
            &format!("/blake3/{HEX}/a/b"),
            &format!("/blake3/{HEX}/a%2Fb"),
            &format!("/{HEX}/%00"),
            &"/a".repeat(300),
        ] {
            assert_eq!(at(path), Err(404), "{path}");
        }
        assert_eq!(at("/magnet/x"), Err(501));
    }

    #[test]
    fn folders_and_names_have_paths_below() {
        let path = |parts: &[&str]| parts.iter().map(|part| part.as_bytes().to_vec()).collect::<Vec<_>>();
        let folder = |parts, is_folder| {
            Ok(Target::Folder { root: Root::Folder(hash()), path: path(parts), is_folder })
        };
        assert_eq!(at(&format!("/folder/{HEX}")), folder(&[], false));
        assert_eq!(at(&format!("/folder/{HEX}/")), folder(&[], true));
        assert_eq!(at(&format!("/folder/{HEX}/a/b%3F.txt")), folder(&["a", "b?.txt"], false));
        let key = PublicKey::from_bytes(hash());
        let latest =
            |parts| Ok(Target::Folder { root: Root::Latest(key), path: path(parts), is_folder: false });
        assert_eq!(at(&format!("/latest/{HEX}/site/index.html")), latest(&["site", "index.html"]));
        assert_eq!(route(&Host::Site(key), "/site/x").map_err(|e| e.status), latest(&["site", "x"]));
        assert_eq!(route(&Host::Site(key), "/status.json").map_err(|e| e.status), latest(&["status.json"]));
    }
}
