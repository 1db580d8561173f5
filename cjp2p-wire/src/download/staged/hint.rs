//! Hints: content that is wanted by its SHA-256 hash is checked as it comes by the tree of the BLAKE3 hash that a source says the
//! same content has.
//!
//! Such a hint proves nothing, so what is checked by it is staged, and the SHA-256 hash of the whole decides. It is a
//! claim of those that gave it, like a length: they are judged by it, and by the end. What others send and does not fit
//! it shows that one of the two is wrong. They are set aside as long as this hint is tried, and blamed only if it turns
//! out to be right.

use std::net::SocketAddr;

use super::{LITTLE, MAX_REFUTED, Staged};
use crate::content_id::Hash;
use crate::download::assembly::{Check, SMALL_LEN};
use crate::download::context::Context;
use crate::download::interface::Failure;
use crate::download::source::{Source, Standing};
use crate::download::sources::{Fault, Sources};
use crate::time::Time;

impl Staged {
    /// Whether to ask this source for a hint. Notes that it is asked.
    pub(in crate::download) fn wants_hint(&self, now: Time, source: &mut Source) -> bool {
        let matters = self.length().is_none_or(|length| length > SMALL_LEN);
        self.by_hash && matters && source.hint.ask(now)
    }

    /// The hint in use.
    pub(in crate::download) fn hint(&self) -> Option<Hash> {
        Some(*self.assembly.as_ref()?.verifier()?.root())
    }

    /// Whether this source has the tree by which content is checked.
    pub(in crate::download) fn has_tree(&self, source: &Source) -> bool {
        self.hint().is_none_or(|root| source.hint.root == Some(root))
    }

    /// Whether the source has shown nothing that speaks against the hint in use.
    pub(super) fn agrees(&self, source: &Source) -> bool {
        let Some(hint) = self.hint() else { return true };
        !source.hint.at_odds && source.hint.root.is_none_or(|root| root == hint)
    }

    /// A hint from `address` may be of use to what is tried at present.
    pub(in crate::download) fn follow_hint(&mut self, address: SocketAddr, context: &mut Context<'_>) {
        let Some(source) = context.sources.get(address) else { return };
        let (Some(claim), Some(root)) = (source.claim.length, self.usable_hint(address, source)) else {
            return;
        };
        if context.reports.is_over() || self.waits_for_verdict || self.hint().is_some() {
            return;
        }
        let Some(assembly) = &mut self.assembly else { return };
        if assembly.length() != claim {
            if assembly.done().total() <= LITTLE {
                self.begin_attempt(claim, None, context);
            }
            return;
        }
        if let Some(Check::Tree(tree)) = Check::new(root, claim) {
            self.hints.cover_all = assembly.done().is_empty();
            self.attempt.only = None;
            assembly.adopt_tree(tree);
            forget_odds(context.sources);
            self.hints.since = context.now;
        }
    }

    /// The hint of this source, if it is worth an attempt.
    pub(super) fn usable_hint(&self, address: SocketAddr, source: &Source) -> Option<Hash> {
        let is_long = source.claim.length.is_some_and(|length| length > SMALL_LEN);
        let usable = is_long && source.standing == Standing::Serving && !self.put_off.has(address);
        source.hint.root.filter(|root| usable && !self.hints.refuted.contains(root))
    }

    /// How to check content of this length in an attempt that begins. Every source may take part in it anew.
    pub(super) fn check_in_attempt(&mut self, length: u64, context: &mut Context<'_>) -> Check {
        forget_odds(context.sources);
        self.hints.since = context.now;
        let with_claim = context.sources.iter().filter(|(_, source)| source.claim.length == Some(length));
        let root = with_claim.filter_map(|(address, source)| self.usable_hint(address, source)).next();
        let check = match root.and_then(|root| Check::new(root, length)) {
            Some(Check::Tree(tree)) => Check::Hint(tree),
            _ => Check::AtTheEnd,
        };
        self.hints.cover_all = matches!(check, Check::Hint(_));
        check
    }

    /// What this source sent does not fit the hint in use. Returns whether that may be the fault of the hint.
    pub(in crate::download) fn set_aside(&self, source: &mut Source) -> bool {
        let may_be_false = self.hint().is_some_and(|hint| source.hint.root != Some(hint));
        source.hint.at_odds |= may_be_false;
        may_be_false
    }

    /// The whole, all of it checked by the hint in use, is not what was wanted: the hint was false.
    pub(super) fn refute_hint(&mut self, hint: Hash, sources: &Sources) -> Vec<Fault> {
        if self.hints.refuted.len() >= MAX_REFUTED {
            self.hints.refuted.pop_first();
        }
        self.hints.refuted.insert(hint);
        false_hints(sources, |root| root == hint)
    }

    /// The whole is right: the sources that contradicted are not.
    pub(super) fn settle_hint(&mut self, sources: &Sources) -> Vec<Fault> {
        let Some(hint) = self.hint().filter(|_| self.hints.cover_all) else { return Vec::new() };
        self.hints.proven = true;
        let why = "it sent bytes that are not of this content";
        let at_odds = sources.iter().filter(|(_, source)| source.hint.at_odds);
        let at_odds = at_odds.map(|(source, known)| Fault { source, certain: known.claim.is_certain(), why });
        let mut faults = false_hints(sources, |root| root != hint);
        faults.extend(at_odds);
        faults
    }

    /// Where no source is left that would bring the tree, goes on without it; and a hint that is contradicted has its time.
    pub(in crate::download) fn check_hint(&mut self, context: &mut Context<'_>) {
        let may_go_on = !context.reports.is_over() && !self.waits_for_verdict;
        let Some(hint) = self.hint().filter(|_| may_go_on) else { return };
        let Some(length) = self.length() else { return };
        if !any_has_tree(context.sources, hint, length) && !self.drop_hint(context) {
            self.next_attempt(context);
        } else if context.now.since(self.hints.since) >= self.hints.timeout
            && is_contradicted(context.sources, hint, length)
        {
            self.hints.timeout *= 2;
            self.put_off_hint(hint, length, context.sources);
            self.next_attempt(context);
        }
    }

    fn put_off_hint(&mut self, hint: Hash, length: u64, sources: &Sources) {
        let gave_it = |source: &Source| source.hint.root == Some(hint) && source.claim.length == Some(length);
        let givers = sources.iter().filter(|(_, source)| gave_it(source)).map(|(address, _)| address);
        self.put_off.extend(givers, sources);
    }

    /// Nothing new comes. Where that is for want of the tree, and no source contradicts the hint, goes on without it. Returns
    /// whether it was so.
    pub(super) fn drop_hint(&mut self, context: &mut Context<'_>) -> bool {
        let Some(hint) = self.hint() else { return false };
        let Some(assembly) = &self.assembly else { return false };
        let length = assembly.length();
        let wants_tree = assembly.waits_for_tree() || !any_has_tree(context.sources, hint, length);
        if !wants_tree || is_contradicted(context.sources, hint, length) {
            return false;
        }
        self.put_off_hint(hint, length, context.sources);
        self.hints.cover_all = false;
        let Some(assembly) = &mut self.assembly else { return false };
        match assembly.drop_tree(context.sink) {
            Ok(()) => self.check_complete(context.reports),
            Err(error) => context.reports.fail(Failure::Destination(error)),
        }
        true
    }
}

fn false_hints(sources: &Sources, is_false: impl Fn(Hash) -> bool) -> Vec<Fault> {
    let why = "the id that it says names the same content names another";
    let givers = sources.iter().filter(|(_, source)| source.hint.root.is_some_and(&is_false));
    givers.map(|(source, _)| Fault { source, certain: true, why }).collect()
}

fn forget_odds(sources: &mut Sources) {
    for source in sources.values_mut() {
        source.hint.at_odds = false;
    }
}

/// Whether a source gave this hint, and claims this length, and was not found to lie.
fn any_has_tree(sources: &Sources, hint: Hash, length: u64) -> bool {
    sources.values().any(|source| {
        source.hint.root == Some(hint)
            && source.claim.length == Some(length)
            && source.standing != Standing::Liar
    })
}

fn is_contradicted(sources: &Sources, hint: Hash, length: u64) -> bool {
    sources.serving().any(|(_, source)| {
        let other = source.hint.root.is_some_and(|root| root != hint) || source.hint.at_odds;
        source.claim.length == Some(length) && other
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::JobId;

    #[test]
    fn of_false_hints_so_many_are_remembered_and_the_latest_always() {
        let mut staged = Staged::new(Time::ZERO, JobId(0), true);
        let sources = Sources::new();
        for n in 1..=2 * MAX_REFUTED {
            let hint = *blake3::hash(&n.to_le_bytes()).as_bytes();
            staged.refute_hint(hint, &sources);
            assert!(staged.hints.refuted.contains(&hint));
            assert_eq!(staged.sizes().refuted, n.min(MAX_REFUTED));
        }
    }
}
