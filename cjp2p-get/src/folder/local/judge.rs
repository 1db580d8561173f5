//! What is to become of an entry, by what is there: decided without a look at the disk.

use cjp2p_wire::content_id::Hash;

use super::options::Options;
use super::record::Known;
use cjp2p_io::beneath::Stamp;

/// What the list has of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    Folder,
    File { root: &'a Hash, length: u64 },
    Link { target: &'a [u8] },
}

/// What stands at its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum There<'a> {
    File(Stamp),
    Link {
        target: &'a [u8],
    },
    /// `may_go`: nothing is in it that has to stay.
    Folder {
        may_go: bool,
    },
    /// A device, socket or pipe.
    Other,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is right.
    Right,
    /// Only its hash can tell.
    Hash,
    /// Nothing is there.
    New,
    /// Something is, and may be replaced.
    Replace,
    /// Something is, and has to stay: why.
    Refuse(&'static str),
}

const THEIRS: &str = "is not as the list has it, nor as it was written here: --force replaces it, --backup DIR keeps it elsewhere";
const FULL_FOLDER: &str =
    "is a folder here, with something in it: --force replaces it, --backup DIR keeps it elsewhere";

/// Decides. `known` is what it may be if it is ours.
pub(super) fn judge<'a>(
    wanted: Wanted<'_>,
    there: There<'_>,
    known: impl IntoIterator<Item = &'a Known, IntoIter: Clone>,
    options: &Options,
) -> Verdict {
    let mut known = known.into_iter();
    let ours = known.clone().find(|known| match (there, known) {
        (There::File(stamp), Known::File { stamp: known, .. }) => stamp == *known,
        (There::Link { target }, Known::Link { target: known }) => blake3::hash(target).as_bytes() == known,
        _ => false,
    });
    // It may be what we wrote, with another time.
    let mut may_be_ours = |stamp: Stamp| {
        known.any(|known| matches!(known, Known::File { stamp: known, .. } if known.size == stamp.size))
            && !options.may_replace_theirs()
    };
    match (wanted, there) {
        (Wanted::Folder, There::Folder { .. }) => Verdict::Right,
        (Wanted::Link { target }, There::Link { target: there }) if target == there => Verdict::Right,
        (Wanted::File { root, length }, There::File(stamp)) => match ours {
            Some(Known::File { root: known, .. }) if !options.checksum => {
                if known == root {
                    Verdict::Right
                } else {
                    Verdict::Replace
                }
            }
            _ if stamp.size == length || may_be_ours(stamp) => Verdict::Hash,
            _ => theirs(options),
        },
        (_, There::Folder { may_go }) => match may_go || options.may_replace_theirs() {
            true => Verdict::Replace,
            false => Verdict::Refuse(FULL_FOLDER),
        },
        _ if ours.is_some() => Verdict::Replace,
        (_, There::File(stamp)) if may_be_ours(stamp) => Verdict::Hash,
        _ => theirs(options),
    }
}

/// The same for a file that was hashed. `root` is what it should hold, where the list has a file.
pub(super) fn judge_hashed<'a>(
    root: Option<&Hash>,
    found: &Hash,
    known: impl IntoIterator<Item = &'a Known>,
    options: &Options,
) -> Verdict {
    let mut known = known.into_iter();
    if Some(found) == root {
        return Verdict::Right;
    }
    match known.any(|known| matches!(known, Known::File { root: known, .. } if known == found)) {
        true => Verdict::Replace,
        false => theirs(options),
    }
}

fn theirs(options: &Options) -> Verdict {
    if options.may_replace_theirs() { Verdict::Replace } else { Verdict::Refuse(THEIRS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Hash = [1; 32];
    const OLD: Hash = [2; 32];
    const OTHER: Hash = [3; 32];
    const STAMP: Stamp = Stamp { size: 5, seconds: 1, nanos: 2, inode: 3 };
    const WANTED: Wanted<'_> = Wanted::File { root: &ROOT, length: 5 };

    fn options(text: &str) -> Options {
        Options {
            force: text.contains('f'),
            backup: text.contains('b').then(|| "x".into()),
            checksum: text.contains('c'),
            ..Options::default()
        }
    }

    fn known(root: Hash) -> Known {
        Known::File { stamp: STAMP, root }
    }

    fn is_refused(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Refuse(_))
    }

    #[test]
    fn a_file_that_nobody_touched_since_is_right_or_replaced_by_what_is_remembered_of_it() {
        let file = There::File(STAMP);
        for how in ["", "f", "b"] {
            assert_eq!(judge(WANTED, file, Some(&known(ROOT)), &options(how)), Verdict::Right);
            assert_eq!(judge(WANTED, file, Some(&known(OLD)), &options(how)), Verdict::Replace);
        }
        assert_eq!(judge(WANTED, file, Some(&known(ROOT)), &options("c")), Verdict::Hash);
    }

    #[test]
    fn after_an_interruption_it_may_be_the_old_or_the_new() {
        let new = Known::File { stamp: Stamp { inode: 9, ..STAMP }, root: ROOT };
        for both in [[known(OLD), new], [new, known(OLD)]] {
            assert_eq!(judge(WANTED, There::File(STAMP), &both, &options("")), Verdict::Replace);
            let there = There::File(Stamp { inode: 9, ..STAMP });
            assert_eq!(judge(WANTED, there, &both, &options("")), Verdict::Right);
            assert_eq!(judge_hashed(Some(&ROOT), &OLD, &both, &options("")), Verdict::Replace);
        }
    }

    #[test]
    fn any_other_file_is_hashed_where_that_can_tell_and_else_it_is_theirs() {
        let longer = Stamp { size: 6, ..STAMP };
        for touched in
            [Stamp { seconds: 2, ..STAMP }, Stamp { nanos: 3, ..STAMP }, Stamp { inode: 4, ..STAMP }]
        {
            for known in [None, Some(known(ROOT)), Some(known(OLD))] {
                assert_eq!(judge(WANTED, There::File(touched), known.as_ref(), &options("")), Verdict::Hash);
            }
        }
        assert!(is_refused(judge(WANTED, There::File(longer), None, &options(""))));
        assert!(is_refused(judge(WANTED, There::File(longer), Some(&known(OLD)), &options(""))));
        for how in ["f", "b"] {
            assert_eq!(judge(WANTED, There::File(longer), None, &options(how)), Verdict::Replace);
        }
        let was_long = Known::File { stamp: Stamp { seconds: 9, ..longer }, root: OLD };
        assert_eq!(judge(WANTED, There::File(longer), Some(&was_long), &options("")), Verdict::Hash);
        assert_eq!(judge_hashed(Some(&ROOT), &ROOT, None, &options("")), Verdict::Right);
        assert_eq!(judge_hashed(Some(&ROOT), &OLD, Some(&known(OLD)), &options("")), Verdict::Replace);
        assert!(is_refused(judge_hashed(Some(&ROOT), &OTHER, Some(&known(OLD)), &options(""))));
        assert_eq!(judge_hashed(Some(&ROOT), &OTHER, Some(&known(OLD)), &options("b")), Verdict::Replace);
    }

    #[test]
    fn something_of_another_kind_is_replaced_only_if_it_is_ours_or_may_be_lost() {
        let link = Wanted::Link { target: b"to" };
        let ours = Known::Link { target: *blake3::hash(b"old").as_bytes() };
        let old = There::Link { target: b"old" };
        assert_eq!(judge(link, There::Link { target: b"to" }, None, &options("")), Verdict::Right);
        for wanted in [link, WANTED, Wanted::Folder] {
            assert_eq!(judge(wanted, old, Some(&ours), &options("")), Verdict::Replace);
            assert!(is_refused(judge(wanted, old, None, &options(""))));
            assert!(is_refused(judge(wanted, There::Other, Some(&ours), &options(""))));
            assert_eq!(judge(wanted, There::Other, None, &options("f")), Verdict::Replace);
        }
        assert_eq!(judge(link, There::File(STAMP), Some(&known(OLD)), &options("")), Verdict::Replace);
        assert!(is_refused(judge(Wanted::Folder, There::File(STAMP), None, &options(""))));
        let touched = There::File(Stamp { seconds: 9, ..STAMP });
        assert_eq!(judge(Wanted::Folder, touched, Some(&known(OLD)), &options("")), Verdict::Hash);
        assert_eq!(judge_hashed(None, &OLD, Some(&known(OLD)), &options("")), Verdict::Replace);
        assert!(is_refused(judge_hashed(None, &OTHER, Some(&known(OLD)), &options(""))));
        for wanted in [link, WANTED] {
            assert!(is_refused(judge(wanted, There::Folder { may_go: false }, None, &options(""))));
            assert_eq!(judge(wanted, There::Folder { may_go: true }, None, &options("")), Verdict::Replace);
            assert_eq!(judge(wanted, There::Folder { may_go: false }, None, &options("b")), Verdict::Replace);
        }
        assert_eq!(
            judge(Wanted::Folder, There::Folder { may_go: false }, None, &options("")),
            Verdict::Right
        );
    }
}
