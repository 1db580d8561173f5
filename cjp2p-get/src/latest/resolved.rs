//! What a name was found to stand for: the line between the process that asks peers and the one that fetches.

use std::net::SocketAddr;

use cjp2p_cli::ToolError;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::{FOLDER_PREFIX, folder_id};
use cjp2p_wire::signed::{PointerId, PointsTo, SignedPointer};
use serde::{Deserialize, Serialize};

use crate::folder::command;

/// A longer line, in bytes, is none.
pub(crate) const MAX_LINE: u64 = 64 << 10;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resolved {
    /// What is to be fetched, as people write it: `folder/HEX`, with a path in it or not; `blake3/HEX`; or 64 hex digits.
    pub(crate) id: String,
    /// The number of the pointer.
    pub(crate) seq: u64,
    /// The peers that said so.
    pub(crate) peers: Vec<SocketAddr>,
}

impl Resolved {
    /// A path in a folder that the user named by its id.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub(crate) fn of_path(id: &str) -> Result<Resolved, ToolError> {
        let (name, ..) = command::parse(id)?;
        Ok(Resolved { id: name, seq: 0, peers: Vec::new() })
    }

    /// What is meant by a name: of its `candidates` the first for which there is a pointer that fits, with the path in it. `known` gives
    /// what is known of a name.
    pub(crate) fn of(
        candidates: &[(PointerId, String)],
        known: impl Fn(&PointerId) -> Option<(SignedPointer, Vec<SocketAddr>)>,
    ) -> Option<Resolved> {
        candidates.iter().find_map(|(id, path)| {
            let (signed, peers) = known(id)?;
            let pointer = signed.pointer();
            let id = match (pointer.kind, pointer.blake3, path.as_str()) {
                (PointsTo::Folder, Some(root), "") => folder_id(&root),
                (PointsTo::Folder, Some(root), path) => format!("{}/{path}", folder_id(&root)),
                // A file has nothing below it.
                (PointsTo::File, _, path) if !path.is_empty() => return None,
                (_, Some(root), _) => ContentId::Blake3(root).to_string(),
                (_, None, _) => ContentId::Sha256(pointer.sha256).to_string(),
            };
            Some(Resolved { id, seq: pointer.seq, peers })
        })
    }
}

/// Whether a text is an id that can be verified, or a path in a folder that can. Whatever else another process said might be an option,
/// or mean standard input.
pub(crate) fn is_verifiable(text: &str) -> bool {
    match text.strip_prefix(FOLDER_PREFIX) {
        Some(rest) => {
            let root = rest.split_once('/').map_or(rest, |(root, _)| root);
            matches!(ContentId::parse(root), Ok(ContentId::Sha256(_)))
        }
        None => matches!(ContentId::parse(text), Ok(ContentId::Blake3(_) | ContentId::Sha256(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::{Pointer, SigningKey};

    #[test]
    fn a_name_is_what_it_stands_for_itself_or_else_a_path_in_the_longest_folder() {
        let key = SigningKey::from_seed(&[1; 32]);
        let signed = |name: &str, kind, blake3| {
            let id = PointerId::parse(&format!("latest/{}/{name}", key.public())).unwrap();
            SignedPointer::sign(&key, Pointer { id, sha256: [2; 32], seq: 7, blake3, length: None, kind })
        };
        let all = [
            signed("site", PointsTo::Folder, Some([1; 32])),
            signed("site/a", PointsTo::Folder, Some([3; 32])),
            signed("site/a/index.html", PointsTo::File, Some([4; 32])),
            signed("foreign", PointsTo::File, None),
        ];
        let resolve = |name: &str| {
            let candidates = PointerId::candidates(&format!("latest/{}/{name}", key.public())).unwrap();
            let known = |id: &PointerId| {
                all.iter()
                    .find(|signed| signed.pointer().id == *id)
                    .map(|signed| (signed.clone(), Vec::new()))
            };
            Resolved::of(&candidates, known).map(|resolved| resolved.id)
        };
        let hex = |byte: u8| format!("{byte:02x}").repeat(32);
        for (name, id) in [
            ("site", Some(format!("folder/{}", hex(1)))),
            ("site/b/.c", Some(format!("folder/{}/b/.c", hex(1)))),
            ("site/a", Some(format!("folder/{}", hex(3)))),
            ("site/a/x", Some(format!("folder/{}/x", hex(3)))),
            ("site/a/index.html", Some(format!("blake3/{}", hex(4)))),
            ("foreign", Some(hex(2))),
            ("other", None),
            ("foreign/x", None),
        ] {
            assert_eq!(resolve(name), id, "{name}");
        }
        for (text, is_one) in [
            (format!("folder/{}", hex(1)), true),
            (format!("folder/{}/-o/x", hex(1)), true),
            (format!("blake3/{}", hex(1)), true),
            (hex(1), true),
            ("-".to_owned(), false),
            ("--force".to_owned(), false),
            ("-oblake3/x".to_owned(), false),
            ("name".to_owned(), false),
            ("folder/ab".to_owned(), false),
            (format!("latest/{}/x", hex(1)), false),
        ] {
            assert_eq!(is_verifiable(&text), is_one, "{text}");
        }
        // Below a file there is nothing, but a folder further up may have such a path.
        assert_eq!(resolve("site/a/index.html/x"), Some(format!("folder/{}/index.html/x", hex(3))));
    }
}
