//! Which names decide where a path leads.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// Links followed on one way, as the kernel does.
const MAX_LINKS: usize = 40;

/// The names on the way of an absolute path, links included, each with the folder that it is in. Ends at the first that is missing.
pub fn way_to(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut way = Vec::new();
    let mut folder = PathBuf::from("/");
    let mut links = 0;
    let mut to_do: VecDeque<OsString> = parts(path);
    while let Some(name) = to_do.pop_front() {
        if name == OsStr::new("..") {
            folder.pop();
            continue;
        }
        let here = folder.join(&name);
        way.push((folder.clone(), name));
        let Ok(found) = here.symlink_metadata() else {
            break;
        };
        if !found.is_symlink() {
            folder = here;
            continue;
        }
        links += 1;
        let Ok(target) = here.read_link() else {
            break;
        };
        if links > MAX_LINKS {
            break;
        }
        if target.is_absolute() {
            folder = PathBuf::from("/");
        }
        let mut next = parts(&target);
        next.append(&mut to_do);
        to_do = next;
    }
    way
}

/// The names in a path, and `..`.
fn parts(path: &Path) -> VecDeque<OsString> {
    let is_part = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_part).map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_name_counts_those_in_links_too_up_to_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("releases/5/public")).unwrap();
        symlink("releases/5", base.join("current")).unwrap();
        symlink(base.join("current"), base.join("absolute")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let way = |path: &str| -> Vec<String> {
            let all = way_to(&base.join(path));
            let inside = all.iter().filter(|(folder, _)| folder.starts_with(&base));
            let shown = inside.map(|(folder, name)| folder.strip_prefix(&base).unwrap().join(name));
            shown.map(|path| path.to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(way("current/public"), ["current", "releases", "releases/5", "releases/5/public"]);
        assert_eq!(way("absolute"), ["absolute", "current", "releases", "releases/5"]);
        assert_eq!(way("releases/../current"), ["releases", "current", "releases", "releases/5"]);
        assert_eq!(way("releases/6/public"), ["releases", "releases/6"]);
        assert_eq!(way("loop").len(), MAX_LINKS + 1);
        assert_eq!(way_to(&base).len(), base.components().count() - 1);
    }
}
