//! The names of downloads in progress: one place, so that what one tool writes no other tool shares.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What a download in progress is called after the name it will have.
pub const PART_SUFFIX: &str = ".cjp2p-part";

/// What the record of a download in progress is called after the name that the download will have.
pub const RESUME_SUFFIX: &str = ".cjp2p-resume";

/// Whether a file of this name is a download in progress, or the record of one.
pub fn is_partial(file_name: &OsStr) -> bool {
    let name = file_name.as_bytes();
    name.ends_with(PART_SUFFIX.as_bytes()) || name.ends_with(RESUME_SUFFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_suffix_marks_a_partial_download() {
        assert!(is_partial(OsStr::new("a.iso.cjp2p-part")));
        assert!(is_partial(OsStr::new("a.iso.cjp2p-resume")));
        assert!(is_partial(OsStr::from_bytes(b"\xff.cjp2p-part")));
        assert!(!is_partial(OsStr::new("a.cjp2p-part.iso")));
        assert!(!is_partial(OsStr::new("part")));
    }
}
