//! `--file`: which entries of a folder are wanted.

use cjp2p_cli::{Exit, ToolError};
use cjp2p_wire::folder::{Entry, FolderPath};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::text::path as path_of;

/// Those that match any of the patterns, and what is in folders that do. Without patterns, all.
///
/// A pattern without `/` is of a name, wherever it is; one with `/` of the path from the top. `*` and `?` match no `/`, `**` does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Select {
    names: GlobSet,
    paths: GlobSet,
    is_all: bool,
    /// What is looked up, and may be missing.
    only: Option<String>,
}

impl Select {
    /// Reads the patterns.
    ///
    /// # Errors
    ///
    /// Where one makes no sense.
    pub(crate) fn new(patterns: &[String]) -> Result<Select, ToolError> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let wrong =
                |error: &globset::Error| ToolError::usage(format!("--file {pattern:?}: {}", error.kind()));
            // As a shell completes a folder's name, and as it begins a path here.
            let text = pattern.strip_prefix("./").unwrap_or(pattern);
            let text = text.strip_suffix('/').unwrap_or(text);
            if text.is_empty() || text.starts_with('/') {
                return Err(ToolError::usage(format!(
                    "--file {pattern:?}: paths begin at the top of the folder"
                )));
            }
            let glob =
                GlobBuilder::new(text).literal_separator(true).build().map_err(|error| wrong(&error))?;
            if text.contains('/') { &mut paths } else { &mut names }.add(glob);
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|error| ToolError::usage(format!("--file: {}", error.kind())))
        };
        Ok(Select { names: build(names)?, paths: build(paths)?, is_all: patterns.is_empty(), only: None })
    }

    /// What is at this path, if there is anything.
    pub(crate) fn only(path: String) -> Select {
        Select { only: Some(path), ..Select::default() }
    }

    /// Whether everything is wanted.
    pub(crate) fn is_all(&self) -> bool {
        self.is_all
    }

    /// Whether it is no fault if nothing is taken.
    pub(super) fn may_be_nothing(&self) -> bool {
        self.is_all || self.only.is_some()
    }

    /// Whether this entry is wanted.
    pub(crate) fn takes(&self, entry: &Entry) -> bool {
        match &self.only {
            Some(path) => entry.path.as_bytes() == path.as_bytes(),
            None => self.is_all || self.takes_path(&entry.path),
        }
    }

    fn takes_path(&self, path: &FolderPath) -> bool {
        if path.parts().any(|name| self.names.is_match(path_of(name))) {
            return true;
        }
        let bytes = path.as_bytes();
        let ends = memchr::memchr_iter(b'/', bytes).chain([bytes.len()]);
        !self.paths.is_empty() && ends.into_iter().any(|end| self.paths.is_match(path_of(&bytes[..end])))
    }
}

/// Nothing was taken.
pub(super) fn nothing_matches() -> ToolError {
    ToolError::new(Exit::Failure, "--file: nothing in the folder matches")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(patterns: &[&str], path: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|&text| text.to_owned()).collect();
        let (path, mtime) = (FolderPath::new(path.as_bytes()).unwrap(), None);
        let kind = cjp2p_wire::folder::Kind::Folder { list: None };
        Select::new(&patterns).unwrap().takes(&Entry { path, kind, mtime })
    }

    #[test]
    fn a_pattern_without_a_slash_is_of_a_name_anywhere_and_takes_what_is_in_such_folders() {
        for (pattern, path, takes) in [
            ("*.dng", "raw/a.dng", true),
            ("*.dng", "a.dng", true),
            ("*.dng", "a.dng.txt", false),
            ("raw", "x/raw/deep/a", true),
            ("raw", "x/raw2/a", false),
            ("raw/*.dng", "raw/a.dng", true),
            ("raw/*.dng", "x/raw/a.dng", false),
            ("raw/*.dng", "raw/b/a.dng", false),
            ("raw/**/*.dng", "raw/b/c/a.dng", true),
            ("./raw/b/", "raw/b/a", true),
            ("raw/b/", "raw/b2", false),
            ("[ab]?", "x/b1", true),
        ] {
            assert_eq!(taken(&[pattern], path), takes, "{pattern} {path}");
        }
        assert!(taken(&[], "whatever") && taken(&["a", "b"], "b"));
    }

    #[test]
    fn patterns_that_make_no_sense_are_refused() {
        for pattern in ["/etc/*", "a[", "", "/", "{a"] {
            let error = Select::new(&[pattern.to_owned()]).unwrap_err();
            assert!(error.message.contains("--file"), "{error}");
        }
    }
}
