//! What the library says that names stand for: our own, those that somebody on this machine asked for, and files in our own folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cjp2p_wire::signed::{Pointer, PointerId, PointsTo, SignedPointer, SigningKey};
use cjp2p_wire::store::Asker;

use crate::file::Ids;
use crate::lru::Lru;

/// Pointers of single files that are kept once they were signed: a page and all that is on it.
const MAX_BELOW: usize = 1024;
/// Names of others that are answered for.
const MAX_HEARD: usize = 1024;

/// Where the index has the files of a folder: the number of an argument, and a path below it.
pub type FilesOf = (u32, PathBuf);

/// A name of ours.
struct Own {
    files: FilesOf,
    pointer: SignedPointer,
}

/// See the [module](self).
pub struct Names {
    /// Signs for single files of folders that have a name.
    key: Option<SigningKey>,
    own: BTreeMap<PointerId, Own>,
    // Invariant: at most `MAX_HEARD`.
    heard: BTreeMap<PointerId, SignedPointer>,
    below: Lru<PointerId, SignedPointer>,
}

impl Default for Names {
    fn default() -> Names {
        Names { key: None, own: BTreeMap::new(), heard: BTreeMap::new(), below: Lru::new(MAX_BELOW) }
    }
}

impl Names {
    /// From now on a name stands for this; of a folder the index has the files there.
    pub fn publish(&mut self, key: &SigningKey, files: FilesOf, pointer: SignedPointer) {
        self.key.get_or_insert_with(|| key.clone());
        self.own.insert(pointer.pointer().id.clone(), Own { files, pointer });
    }

    /// Somebody on this machine knows this of a name. Returns whether that is news.
    pub fn hear(&mut self, pointer: SignedPointer) -> bool {
        let id = &pointer.pointer().id;
        let is_news = match self.heard.get(id) {
            Some(known) => pointer.is_newer_than(known),
            None => self.heard.len() < MAX_HEARD && !self.own.contains_key(id),
        };
        if is_news {
            self.heard.insert(id.clone(), pointer);
        }
        is_news
    }

    /// What a name stands for. `find` gives the ids and the length of a file of an argument. For one of a folder that has a name a
    /// pointer is signed when it is first asked for, unless the asker may be anybody.
    pub fn latest(
        &mut self,
        asker: Asker,
        id: &PointerId,
        find: impl FnOnce(u32, &Path) -> Option<(Ids, u64)>,
    ) -> Option<SignedPointer> {
        if let Some(own) = self.own.get(id) {
            return Some(own.pointer.clone());
        }
        let heard = self.heard.get(id);
        let is_above = |(folder, own): &(&PointerId, &Own)| {
            let is_folder = own.pointer.pointer().kind == PointsTo::Folder;
            is_folder && folder.key == id.key && id.name.below(&folder.name).is_some()
        };
        let above = self.own.iter().filter(is_above).max_by_key(|(id, _)| id.name.as_str().len());
        let (Some(key), Some((folder, own))) = (&self.key, above) else { return heard.cloned() };
        // As new as the folder is: it is a file of that. What was heard of it may be what an older folder had.
        let seq = own.pointer.pointer().seq;
        if let Some(newer) = heard.filter(|heard| heard.pointer().seq > seq) {
            return Some(newer.clone());
        }
        if let Some(signed) = self.below.get(id).filter(|signed| signed.pointer().seq == seq) {
            return Some(signed.clone());
        }
        if asker == Asker::Unvalidated {
            return None;
        }
        let (source, below) = &own.files;
        let (ids, length) = find(*source, &below.join(id.name.below(&folder.name)?))?;
        let pointer = Pointer {
            id: id.clone(),
            sha256: ids.sha256,
            seq,
            blake3: Some(ids.blake3),
            length: Some(length),
            kind: PointsTo::File,
        };
        let signed = SignedPointer::sign(key, pointer);
        self.below.insert(id.clone(), signed.clone());
        Some(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const HOST: Asker = Asker::Host(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    fn pointer(key: &SigningKey, name: &str, seq: u64, kind: PointsTo) -> SignedPointer {
        let id = PointerId::parse(&format!("latest/{}/{name}", key.public())).unwrap();
        let blake3 = Some([9; 32]);
        SignedPointer::sign(key, Pointer { id, sha256: [8; 32], seq, blake3, length: None, kind })
    }

    fn id(name: &str) -> PointerId {
        pointer(&key(), name, 0, PointsTo::File).pointer().id.clone()
    }

    /// Asks for a name; the files are those whose path begins with a letter of a to f, of argument 3.
    fn ask(names: &mut Names, asker: Asker, name: &str) -> Option<(u64, u64)> {
        let find = |source, path: &Path| {
            let path = path.to_str()?.strip_prefix("sub/")?;
            let is_there = source == 3 && path.starts_with(|c| ('a'..='f').contains(&c));
            is_there.then_some((Ids { blake3: [1; 32], sha256: [2; 32] }, path.len() as u64))
        };
        let found = names.latest(asker, &id(name), find)?;
        assert_eq!(SignedPointer::read(&found.to_json()), Some(found.clone()));
        assert_eq!(found.pointer().id, id(name));
        Some((found.pointer().seq, found.pointer().length.unwrap_or(0)))
    }

    #[test]
    fn a_file_of_a_named_folder_has_a_pointer_that_is_as_new_as_the_folder() {
        let mut names = Names::default();
        assert_eq!(ask(&mut names, HOST, "site/a.html"), None, "without a key nothing is signed");
        names.publish(&key(), (3, "sub".into()), pointer(&key(), "site", 7, PointsTo::Folder));
        names.publish(&key(), (4, PathBuf::new()), pointer(&key(), "file", 5, PointsTo::File));
        assert_eq!(ask(&mut names, HOST, "site"), Some((7, 0)));
        assert_eq!(ask(&mut names, Asker::Unvalidated, "site/a.html"), None);
        assert_eq!(ask(&mut names, HOST, "site/a.html"), Some((7, 6)));
        assert_eq!(ask(&mut names, Asker::Unvalidated, "site/a.html"), Some((7, 6)));
        for none in ["site/x", "file/a", "sit/a", "other"] {
            assert_eq!(ask(&mut names, HOST, none), None, "{none}");
        }
        names.publish(&key(), (3, "sub".into()), pointer(&key(), "site", 9, PointsTo::Folder));
        assert_eq!(ask(&mut names, Asker::Unvalidated, "site/a.html"), None, "that one is too old");
        assert_eq!(ask(&mut names, HOST, "site/a.html"), Some((9, 6)));
    }

    #[test]
    fn what_was_heard_of_a_file_of_ours_counts_only_where_it_is_newer() {
        let mut names = Names::default();
        assert!(names.hear(pointer(&key(), "site/a.html", 7, PointsTo::File)));
        assert_eq!(ask(&mut names, Asker::Unvalidated, "site/a.html"), Some((7, 0)));
        names.publish(&key(), (3, "sub".into()), pointer(&key(), "site", 9, PointsTo::Folder));
        assert_eq!(ask(&mut names, Asker::Unvalidated, "site/a.html"), None, "that one is too old");
        assert_eq!(ask(&mut names, HOST, "site/a.html"), Some((9, 6)));
        assert!(names.hear(pointer(&key(), "site/x", 8, PointsTo::File)));
        assert_eq!(ask(&mut names, HOST, "site/x"), None, "it is not there any more");
        assert!(names.hear(pointer(&key(), "site/a.html", 10, PointsTo::File)), "another server has that");
        assert_eq!(ask(&mut names, Asker::Unvalidated, "site/a.html"), Some((10, 0)));
    }

    #[test]
    fn of_others_only_what_was_heard_is_told_and_no_older_one_takes_its_place() {
        let (mut names, other) = (Names::default(), SigningKey::from_seed(&[2; 32]));
        names.publish(&key(), (3, "sub".into()), pointer(&key(), "site", 7, PointsTo::Folder));
        assert!(names.hear(pointer(&other, "a", 7, PointsTo::File)));
        assert!(!names.hear(pointer(&other, "a", 6, PointsTo::File)));
        assert!(!names.hear(pointer(&key(), "site", 9, PointsTo::Folder)), "that is for us to say");
        let heard = pointer(&other, "a", 7, PointsTo::File);
        assert_eq!(names.latest(Asker::Unvalidated, &heard.pointer().id, |_, _| None), Some(heard));
    }
}
