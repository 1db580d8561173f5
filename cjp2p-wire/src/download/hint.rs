//! Content that is wanted by its SHA-256 hash, checked while it comes by the tree of the BLAKE3 hash that a source says
//! the same content has.
//!
//! Such a hint proves nothing, so what is checked by it is staged, and the SHA-256 hash of the whole decides. It is a
//! claim of those who gave it, like a length: they are judged by it, and by the end. What others send and does not fit
//! it shows that one of the two is wrong. They are set aside as long as this hint is tried, and blamed only if it turns
//! out to be right.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::assembly::{Assembly, Check, SMALL_LEN};
use super::attempt::LITTLE;
use super::source::{Source, Standing};
use super::{Download, Failure};
use crate::content_id::{ContentId, Hash};
use crate::pieces::Space;
use crate::store::Sink;
use crate::time::Time;
use crate::tree::TreeVerifier;

/// A source is asked for a hint so often, until it has given one.
const MAX_QUESTIONS: u32 = 3;
/// The pause between two such questions.
const QUESTION_PAUSE: Duration = Duration::from_secs(1);

/// A hint that somebody contradicts is tried for so long at first, and twice as long each time that one was given up. By
/// then it should be judged; or its giver sends just enough to keep others from being heard.
const TIMEOUT: Duration = Duration::from_secs(600);

/// False hints that are remembered: each cost its giver the whole content.
pub(crate) const MAX_REFUTED: usize = 1024;

/// What a fetch makes of hints.
#[derive(Debug)]
pub(super) struct Hints {
    /// BLAKE3 hashes of other content.
    // Invariant: at most `MAX_REFUTED`.
    pub(super) refuted: BTreeSet<Hash>,
    /// All that is staged was checked by the hint that is in use.
    pub(super) covers_all: bool,
    /// The whole was right, and all of it was checked by the hint.
    proven: bool,
    /// When the one in use was taken up.
    since: Time,
    patience: Duration,
}

impl Default for Hints {
    fn default() -> Hints {
        let (refuted, since) = (BTreeSet::new(), Time::ZERO);
        Hints { refuted, covers_all: false, proven: false, since, patience: TIMEOUT }
    }
}

/// What a source has to do with hints.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceHint {
    /// What it says is the BLAKE3 hash. It said so under a proved address.
    root: Option<Hash>,
    /// What it sent does not fit the hint that is in use, which is somebody else's.
    at_odds: bool,
    questions: u32,
    next_question: Time,
}

impl SourceHint {
    /// The source is there, perhaps again: the questions so far may not have reached it.
    pub(super) fn on_serving(&mut self) {
        self.questions = 0;
    }
}

impl Download {
    /// Whether to ask this source, beside a request, which BLAKE3 id names the same content. Notes that it is asked.
    pub fn wants_hint(&mut self, now: Time, address: SocketAddr) -> bool {
        let matters = self.claimed_length().is_none_or(|length| length > SMALL_LEN);
        let ContentId::Sha256(_) = self.id else { return false };
        let Some(source) = self.sources.get_mut(&address).filter(|_| !self.looks_only) else { return false };
        let hint = &mut source.hint;
        let due = hint.questions < MAX_QUESTIONS && now >= hint.next_question;
        if !matters || !due || hint.root.is_some() {
            return false;
        }
        hint.questions += 1;
        hint.next_question = now + QUESTION_PAUSE;
        true
    }

    /// A source that has proved its address says that the content has this BLAKE3 hash. The first that it says counts.
    pub fn on_hint(&mut self, now: Time, address: SocketAddr, root: Hash, sink: &mut dyn Sink) {
        let Some(source) = self.sources.get_mut(&address) else { return };
        let was_asked = source.hint.next_question > Time::ZERO;
        if was_asked && source.hint.root.is_none() && matches!(self.id, ContentId::Sha256(_)) {
            source.hint.root = Some(root);
            self.follow_hint(now, address, sink);
        }
    }

    /// The BLAKE3 hash by whose tree the content is checked.
    pub fn tree_root(&self) -> Option<Hash> {
        match &self.id {
            ContentId::Blake3(root) => Some(*root),
            _ => self.assemblies.first().and_then(|a| a.check.verifier()).map(|tree| *tree.root()),
        }
    }

    /// The hint in use.
    pub(super) fn hint(&self) -> Option<Hash> {
        if self.is_staged() { self.tree_root() } else { None }
    }

    /// Whether a hint was in use from beginning to end, and the whole turned out right.
    pub(super) fn has_proven_hint(&self) -> bool {
        self.hints.proven
    }

    /// Whether this source has the tree by which content is checked.
    pub(super) fn has_tree(&self, source: &Source) -> bool {
        self.hint().is_none_or(|root| source.hint.root == Some(root))
    }

    /// Whether the source has shown nothing that speaks against the hint in use.
    pub(super) fn agrees(&self, source: &Source) -> bool {
        let Some(hint) = self.hint() else { return true };
        !source.hint.at_odds && source.hint.root.is_none_or(|root| root == hint)
    }

    /// A hint from `address` may be of use to what is tried at present.
    pub(super) fn follow_hint(&mut self, now: Time, address: SocketAddr, sink: &mut dyn Sink) {
        let Some(source) = self.sources.get(&address) else { return };
        let (Some(claim), Some(root)) = (source.claim, self.usable_hint(address, source)) else { return };
        if self.ended || self.waits_for_verdict || self.hint().is_some() {
            return;
        }
        let Some(assembly) = self.assemblies.first_mut() else { return };
        if assembly.length() != claim {
            if assembly.done().total() <= LITTLE {
                self.begin_attempt(now, claim, None, sink);
            }
            return;
        }
        if let Some(Check::Tree(tree)) = Check::new(root, claim) {
            self.hints.covers_all = assembly.done().is_empty();
            self.only = None;
            assembly.adopt_tree(tree);
            self.forget_odds();
            self.hints.since = now;
        }
    }

    fn usable_hint(&self, address: SocketAddr, source: &Source) -> Option<Hash> {
        let is_long = source.claim.is_some_and(|length| length > SMALL_LEN);
        let usable = is_long && source.standing == Standing::Serving && !self.put_off.contains(&address);
        source.hint.root.filter(|root| usable && !self.hints.refuted.contains(root))
    }

    /// Whether a hint of this source is worth an attempt.
    pub(super) fn has_usable_hint(&self, address: SocketAddr, source: &Source) -> bool {
        self.usable_hint(address, source).is_some()
    }

    /// How to check content of this length in an attempt that begins. Everybody may take part in it anew.
    pub(super) fn check_in_attempt(&mut self, now: Time, length: u64) -> Check {
        self.forget_odds();
        self.hints.since = now;
        let with_claim = self.sources.iter().filter(|(_, source)| source.claim == Some(length));
        let root = with_claim.filter_map(|(&address, source)| self.usable_hint(address, source)).next();
        let check = root.and_then(|root| Check::new(root, length));
        self.hints.covers_all = matches!(check, Some(Check::Tree(_)));
        match check {
            Some(Check::Tree(tree)) => Check::Hint(tree),
            _ => Check::AtTheEnd,
        }
    }

    fn forget_odds(&mut self) {
        for source in self.sources.values_mut() {
            source.hint.at_odds = false;
        }
    }

    /// What `address` sent does not fit the hint in use. Returns whether that may be the fault of the hint.
    pub(super) fn set_aside(&mut self, address: SocketAddr) -> bool {
        let Some(hint) = self.hint() else { return false };
        let Some(source) = self.sources.get_mut(&address) else { return false };
        if source.hint.root == Some(hint) {
            return false;
        }
        source.hint.at_odds = true;
        self.release(address);
        true
    }

    /// The whole, all of it checked by the hint in use, is not what was wanted: the hint was false.
    pub(super) fn refute_hint(&mut self, now: Time, hint: Hash) {
        if self.hints.refuted.len() >= MAX_REFUTED {
            self.hints.refuted.pop_first();
        }
        self.hints.refuted.insert(hint);
        self.accuse_hinters(now, |root| root == hint);
    }

    /// The whole is right: who contradicted is not.
    pub(super) fn settle_hints(&mut self, now: Time) {
        let Some(hint) = self.hint().filter(|_| self.hints.covers_all) else { return };
        self.hints.proven = true;
        self.accuse_hinters(now, |root| root != hint);
        let at_odds = self.sources.iter().filter(|(_, source)| source.hint.at_odds);
        let wrong: Vec<_> = at_odds.map(|(&address, _)| (address, self.gave_all(address))).collect();
        for (address, certain) in wrong {
            self.accuse(now, address, certain, "it sent bytes that are not of this content");
        }
    }

    fn accuse_hinters(&mut self, now: Time, is_wrong: impl Fn(Hash) -> bool) {
        let wrong = self.sources.iter().filter(|(_, source)| source.hint.root.is_some_and(&is_wrong));
        let wrong: Vec<SocketAddr> = wrong.map(|(&address, _)| address).collect();
        for address in wrong {
            self.accuse(now, address, true, "the id that it says names the same content names another");
        }
    }

    /// A source does not have the tree of the hash that it named.
    pub(super) fn on_no_tree(&mut self, address: SocketAddr) {
        if let Some(source) = self.sources.get_mut(&address) {
            source.hint.root = None;
            source.hint.questions = MAX_QUESTIONS;
        }
    }

    /// Where nobody is left who would bring the tree, goes on without it; and a hint that is contradicted has its time.
    pub(super) fn check_hint(&mut self, now: Time, sink: &mut dyn Sink) {
        let Some(hint) = self.hint().filter(|_| !self.ended && !self.waits_for_verdict) else { return };
        let Some(length) = self.assemblies.first().map(Assembly::length) else { return };
        let has_tree = |source: &Source| source.may_have_tree(hint, length);
        if !self.sources.values().any(has_tree) && !self.drop_hint(sink) {
            self.next_attempt(now, sink);
        } else if now.since(self.hints.since) >= self.hints.patience && self.is_contradicted(hint, length) {
            self.hints.patience *= 2;
            self.put_off_hint(hint, length);
            self.next_attempt(now, sink);
        }
    }

    fn is_contradicted(&self, hint: Hash, length: u64) -> bool {
        self.sources.values().any(|source| {
            let other = source.hint.root.is_some_and(|root| root != hint) || source.hint.at_odds;
            source.standing == Standing::Serving && source.claim == Some(length) && other
        })
    }

    fn put_off_hint(&mut self, hint: Hash, length: u64) {
        let named = |source: &Source| source.hint.root == Some(hint) && source.claim == Some(length);
        let hinters = self.sources.iter().filter(|(_, source)| named(source));
        self.put_off.extend(hinters.map(|(&address, _)| address));
        self.forget_put_off();
    }

    /// Nothing new comes. Where that is for want of the tree, and nobody contradicts the hint, goes on without it. Returns
    /// whether it was so.
    pub(super) fn drop_hint(&mut self, sink: &mut dyn Sink) -> bool {
        let Some(hint) = self.hint() else { return false };
        let Some(assembly) = self.assemblies.first() else { return false };
        let length = assembly.length();
        let has_tree = |source: &Source| source.may_have_tree(hint, length);
        let wants_tree = assembly.waits_for_tree() || !self.sources.values().any(has_tree);
        if !wants_tree || self.is_contradicted(hint, length) {
            return false;
        }
        self.put_off_hint(hint, length);
        self.hints.covers_all = false;
        let Some(assembly) = self.assemblies.first_mut() else { return false };
        match assembly.drop_tree(sink) {
            Ok(()) => self.check_complete(),
            Err(error) => self.fail(Failure::Destination(error)),
        }
        true
    }
}

impl Source {
    /// Whether it named this root, and claims this length, and was not found to lie.
    fn may_have_tree(&self, root: Hash, length: u64) -> bool {
        self.hint.root == Some(root) && self.claim == Some(length) && self.standing != Standing::Liar
    }
}

impl Assembly {
    /// Content is checked by this tree from now on, though only staged. What is done stays, unchecked.
    fn adopt_tree(&mut self, tree: TreeVerifier) {
        self.check = Check::Hint(tree);
        self.picker.begin_all_proofs(&self.check);
    }

    /// Whether some content is here that lacks nothing but the tree.
    fn waits_for_tree(&self) -> bool {
        self.picker.waiting(Space::Content).next().is_some()
    }

    /// Stages what is here and to come, unchecked.
    fn drop_tree(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        self.check = Check::AtTheEnd;
        self.is_proven = false;
        let mut outcome = Default::default();
        for key in self.picker.extents() {
            match key.0 {
                Space::Tree => self.picker.forget(key),
                Space::Content => self.finish_content(key, sink, &mut outcome)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::download::Spec;
    use crate::store::JobId;

    #[test]
    fn of_false_hints_so_many_are_remembered_and_the_latest_always() {
        let timeout = Duration::from_secs(30);
        let spec = Spec {
            id: ContentId::Sha256([1; 32]),
            ranges: Vec::new(),
            in_order: false,
            resume: None,
            source_timeout: timeout,
            stall_timeout: timeout,
        };
        let mut fetch = Download::new(Time::ZERO, JobId(0), spec, 1);
        for n in 1..=2 * MAX_REFUTED {
            let hint = *blake3::hash(&n.to_le_bytes()).as_bytes();
            fetch.refute_hint(Time::ZERO, hint);
            assert!(fetch.hints.refuted.contains(&hint));
            assert_eq!(fetch.kept().refuted, n.min(MAX_REFUTED));
        }
    }
}
