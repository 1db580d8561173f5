//! `Finding`: something that is looked for in a folder.

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::{FolderPath, leads_out};

use super::policy::{self, CHANGES, IMMUTABLE};
use crate::folder::find::Find;
use crate::http::Request;

/// Links that are followed for one request.
const MAX_LINKS: usize = 8;

/// A request with a path below something.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// Fields for the answer.
    pub(super) fields: Vec<(&'static str, String)>,
    /// The path below it.
    pub(super) path: Vec<Vec<u8>>,
    /// The path ends with a slash.
    pub(super) is_folder: bool,
    /// It came to the host of a key.
    pub(super) is_site: bool,
}

/// Something that is looked for in a folder.
pub(super) struct Finding {
    pub(super) asked: Asked,
    pub(super) root: Hash,
    /// The beginning of the URL's path that is the folder itself, with a slash at its end.
    prefix: String,
    /// The same URL may lead to something else another time.
    changes: bool,
    pub(super) find: Find,
    /// The path that is looked for now.
    path: Vec<u8>,
    links: usize,
}

impl Finding {
    /// Looks for the path of a request in the folder with this list, where that can be a path; `changes`: the URL has a name for the
    /// folder.
    pub(super) fn new(asked: Asked, root: Hash, changes: bool) -> Option<Finding> {
        let path = asked.path.join(&b'/');
        if !path.is_empty() && FolderPath::new(&path).is_err() {
            return None;
        }
        let below = asked.path.len() + usize::from(asked.is_folder);
        let parts: Vec<&str> = asked.request.path.split('/').collect();
        let prefix = parts[..parts.len().saturating_sub(below)].join("/") + "/";
        let find = Find::new(root, path.clone());
        Some(Finding { asked, root, prefix, changes, find, path, links: 0 })
    }

    /// Whether the same URL may lead to something else another time.
    pub(super) fn changes(&self) -> bool {
        self.changes
    }

    /// Looks for what is left of the present path behind a link on it. Returns whether that stays in the folder.
    pub(super) fn follow(&mut self, target: &[u8], rest: &[u8]) -> bool {
        let Some(path) = self.behind(target, rest) else { return false };
        self.links += 1;
        self.find = Find::new(self.root, path.clone());
        self.path = path;
        true
    }

    /// The path that a link leads to, if it stays in the folder: the link before `rest`, which ends the present path.
    fn behind(&self, target: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
        let link = self.path.strip_suffix(rest)?;
        let link = FolderPath::new(link.strip_suffix(b"/").unwrap_or(link)).ok()?;
        if self.links >= MAX_LINKS || leads_out(&link, target) {
            return None;
        }
        let mut parts: Vec<&[u8]> = link.parts().collect();
        parts.pop();
        for part in target.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => _ = parts.pop(),
                part => parts.push(part),
            }
        }
        parts.extend(rest.split(|byte| *byte == b'/').filter(|part| !part.is_empty()));
        let path = parts.join(&b'/');
        (path.is_empty() || FolderPath::new(&path).is_ok()).then_some(path)
    }

    /// How long the answer is true.
    pub(super) fn cache_control(&self) -> &'static str {
        if self.changes { CHANGES } else { IMMUTABLE }
    }

    /// Pages of a folder have only what is in it, and run no scripts, but where they have an origin of their own.
    pub(super) fn policy(&self) -> String {
        policy::below(&self.asked.request, self.asked.is_site, &self.prefix)
    }
}
