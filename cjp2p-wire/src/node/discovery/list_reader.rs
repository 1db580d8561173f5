//! Putting the list of a peer together from its parts, whatever order they come in, and whatever is lost.

use std::collections::BTreeMap;

use crate::content_id::ContentId;
use crate::message::ContentList;
use crate::node::event::ListEnd;

/// Parts kept that came before their turn. With more, they are asked for again.
const MAX_AHEAD: usize = 64;
/// About this many bytes of memory hold parts that came before their turn, of one list.
const MAX_AHEAD_BYTES: usize = 256 << 10;
/// And of all lists.
pub(crate) const MAX_ALL_AHEAD_BYTES: usize = 16 << 20;
/// An entry of a list takes this many bytes beside its id.
const ENTRY_BYTES: usize = 48;
/// Contents taken of one list: an end to it, however long a peer goes on.
pub(crate) const MAX_CONTENTS: u64 = 1 << 20;

/// Entries of a list: ids as the peer writes them, and lengths in bytes.
pub(super) type Entries = Vec<(String, u64)>;

/// What to do after a part was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// More is on its way.
    Wait,
    /// Ask where it goes on.
    Ask,
    /// That was all.
    End(ListEnd),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct ListReader {
    /// Up to where the list is here without a gap.
    after: String,
    /// The peer tells its list part by part.
    in_parts: bool,
    contents: u64,
    total: u64,
    ahead: BTreeMap<String, Part>,
    // Invariant: about what those ahead take, and at most `MAX_AHEAD_BYTES` after each part.
    ahead_bytes: usize,
}

#[derive(Debug)]
struct Part {
    entries: Entries,
    next: Option<String>,
    follows: bool,
}

impl Part {
    /// About how much memory it takes with its key.
    fn bytes(&self, after: &str) -> usize {
        let entries: usize = self.entries.iter().map(|(id, _)| id.len() + ENTRY_BYTES).sum();
        entries + after.len() + self.next.as_ref().map_or(0, String::len) + 2 * ENTRY_BYTES
    }
}

impl ListReader {
    /// About how many bytes of memory hold what came before its turn.
    pub(super) fn ahead_bytes(&self) -> usize {
        self.ahead_bytes
    }

    /// From where on to ask.
    pub(super) fn after(&self) -> &str {
        &self.after
    }

    /// Whether the peer tells its list part by part, as far as that is known.
    pub(super) fn is_in_parts(&self) -> bool {
        self.in_parts
    }

    /// Takes in what came. Returns the entries whose turn it is, and what to do next. `room`: bytes that may be kept until their turn.
    pub(super) fn take(&mut self, list: &ContentList<'_>, room: usize) -> (Entries, Then) {
        let entries: Entries = list.results.iter().map(|(id, length)| (id.to_string(), *length)).collect();
        if list.withheld {
            return (entries, Then::End(ListEnd::Withheld));
        }
        let Some(after) = &list.after else { return (entries, Then::Wait) };
        self.in_parts = true;
        self.total = list.total.unwrap_or(self.total);
        if self.ahead.len() >= MAX_AHEAD {
            // They belong where the list is here already, or are asked for again.
            self.forget_ahead();
        }
        let next = list.next.as_ref().map(ToString::to_string);
        let part = Part { entries, next, follows: list.follows };
        self.ahead_bytes += part.bytes(after);
        if let Some(before) = self.ahead.insert(after.to_string(), part) {
            self.ahead_bytes -= before.bytes(after);
        }
        let mut taken = Vec::new();
        let mut then = Then::Wait;
        while let Some(part) = self.ahead.remove(&self.after) {
            self.ahead_bytes -= part.bytes(&self.after);
            let names = |(id, _): &&(String, u64)| matches!(ContentId::parse(id), Ok(ContentId::Name(_)));
            let contents = part.entries.iter().filter(|entry| !names(entry)).count() as u64;
            self.contents += contents;
            taken.extend(part.entries);
            then = match part.next {
                None => Then::End(self.end(true)),
                // A peer that tells of no content and goes on would do so for ever.
                Some(_) if contents == 0 || self.contents >= MAX_CONTENTS => Then::End(self.end(false)),
                Some(next) => {
                    self.after = next;
                    if part.follows { Then::Wait } else { Then::Ask }
                }
            };
            if let Then::End(_) = then {
                break;
            }
        }
        if self.ahead_bytes > room.min(MAX_AHEAD_BYTES) {
            self.forget_ahead();
        }
        (taken, then)
    }

    /// Forgets what came before its turn: it is asked for again.
    fn forget_ahead(&mut self) {
        self.ahead.clear();
        self.ahead_bytes = 0;
    }

    /// Nothing more comes.
    pub(super) fn give_up(&self) -> ListEnd {
        if self.in_parts { self.end(false) } else { ListEnd::Unknown }
    }

    fn end(&self, with_its_last: bool) -> ListEnd {
        // Files may have come and gone meanwhile: what counts is that there was no gap.
        if with_its_last {
            return ListEnd::Complete;
        }
        ListEnd::Missing { total: self.total.max(self.contents + 1), came: self.contents }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn id(n: u32) -> String {
        format!("blake3/{n:064x}")
    }

    /// The part of a list of `total` contents that begins after so many, with `count` of them.
    fn part(from: u32, count: u32, total: u32, follows: bool) -> ContentList<'static> {
        let cursor = |n: u32| Cow::Owned(if n == 0 { String::new() } else { id(n - 1) });
        ContentList {
            results: (from..from + count)
                .flat_map(|n| {
                    [(Cow::Owned(id(n)), u64::from(n)), (Cow::Owned(format!("name {n}")), u64::from(n))]
                })
                .collect(),
            after: Some(cursor(from)),
            next: (from + count < total).then(|| cursor(from + count)),
            follows,
            total: Some(u64::from(total)),
            withheld: false,
        }
    }

    #[test]
    fn parts_in_any_order_and_more_than_once_make_the_list() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut parts: Vec<_> = (0..20).map(|n| part(n * 5, 5, 100, n % 10 != 9)).collect();
            parts.extend((0..10).map(|_| part(random.u32(..20) * 5, 5, 100, true)));
            random.shuffle(&mut parts);
            let mut reader = ListReader::default();
            let (mut all, mut ended) = (Vec::new(), None);
            for list in &parts {
                let (entries, then) = reader.take(list, usize::MAX);
                assert!(ended.is_none() || entries.is_empty());
                all.extend(entries);
                if let Then::End(end) = then {
                    ended = Some(end);
                    break;
                }
            }
            assert_eq!(ended, Some(ListEnd::Complete));
            assert_eq!(all.len(), 200);
            assert!((0..100).all(|n| all[2 * n as usize].0 == id(n)));
        }
    }

    #[test]
    fn what_is_lost_is_asked_for_where_it_belongs_or_counted() {
        let mut reader = ListReader::default();
        assert_eq!(reader.after(), "");
        assert_eq!(reader.take(&part(0, 5, 100, true), usize::MAX).1, Then::Wait);
        assert_eq!(
            reader.take(&part(10, 5, 100, false), usize::MAX),
            (Vec::new(), Then::Wait),
            "5 to 9 are lost"
        );
        assert_eq!(reader.after(), id(4));
        assert_eq!(reader.give_up(), ListEnd::Missing { total: 100, came: 5 });
        let (entries, then) = reader.take(&part(5, 5, 100, true), usize::MAX);
        assert_eq!((entries.len(), then), (20, Then::Ask), "and 10 to 14 are here already");
        assert_eq!(reader.after(), id(14));
    }

    #[test]
    fn who_tells_no_parts_is_believed_to_have_told_what_it_wanted() {
        let mut reader = ListReader::default();
        let list = ContentList { results: vec![(Cow::Borrowed("a"), 1)], ..ContentList::default() };
        assert_eq!(reader.take(&list, usize::MAX), (vec![("a".into(), 1)], Then::Wait));
        assert_eq!(reader.give_up(), ListEnd::Unknown);
        let withheld = ContentList { withheld: true, ..ContentList::default() };
        assert_eq!(reader.take(&withheld, usize::MAX).1, Then::End(ListEnd::Withheld));
    }

    #[test]
    fn a_list_without_an_end_ends_and_fills_no_memory() {
        let mut reader = ListReader::default();
        for n in 1..1000 {
            assert_eq!(reader.take(&part(n * 5, 5, u32::MAX, true), usize::MAX), (Vec::new(), Then::Wait));
            assert!(reader.ahead.len() <= MAX_AHEAD);
        }
        // Round and round.
        let (there, back) = (Some(Cow::Borrowed("x")), Some(Cow::Borrowed("")));
        let results = vec![(Cow::Owned(id(1)), 1); 4096];
        let mut reader = ListReader::default();
        let mut rounds = 0;
        loop {
            rounds += 1;
            let (after, next) = if rounds % 2 == 1 { (&back, &there) } else { (&there, &back) };
            let (after, next) = (after.clone(), next.clone());
            let list = ContentList { results: results.clone(), after, next, ..ContentList::default() };
            if let (_, Then::End(end)) = reader.take(&list, usize::MAX) {
                assert!(matches!(end, ListEnd::Missing { came: MAX_CONTENTS, .. }), "{end:?}");
                break;
            }
        }
        assert_eq!(rounds, MAX_CONTENTS / 4096);
        for results in [vec![], vec![(Cow::Borrowed("only a name"), 1)]] {
            let (after, next) = (Some("".into()), Some("x".into()));
            let nothing = ContentList { results, after, next, ..ContentList::default() };
            assert!(matches!(
                ListReader::default().take(&nothing, usize::MAX).1,
                Then::End(ListEnd::Missing { .. })
            ));
        }
    }

    #[test]
    fn what_comes_before_its_turn_is_kept_as_long_as_there_is_room_and_counted() {
        let mut reader = ListReader::default();
        reader.take(&part(10, 5, 100, false), usize::MAX);
        let one = reader.ahead_bytes();
        assert!(one > 5 * 70, "{one}");
        reader.take(&part(10, 5, 100, false), usize::MAX);
        assert_eq!(reader.ahead_bytes(), one, "the same once more");
        reader.take(&part(20, 5, 100, false), one);
        assert_eq!(reader.ahead_bytes(), 0, "there was room for one");
        for n in 1..10 {
            reader.take(&part(n * 2000, 1000, u32::MAX, true), usize::MAX);
            assert!(reader.ahead_bytes() <= MAX_AHEAD_BYTES);
        }
        reader = ListReader::default();
        reader.take(&part(5, 5, 10, false), usize::MAX);
        let (entries, then) = reader.take(&part(0, 5, 10, true), 0);
        assert_eq!((entries.len(), then, reader.ahead_bytes()), (20, Then::End(ListEnd::Complete), 0));
    }
}
