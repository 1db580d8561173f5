//! What a source is asked for, and what becomes of that when no answer comes, or none that is of use.

use std::net::SocketAddr;

use super::assembly::extent_len;
use super::interface::{Ask, PathTerms};
use super::source::Standing;
use super::{Download, assembly_for};
use crate::pieces::{HaveMap, Space, Terms, Wanted};
use crate::store::Sink;
use crate::time::Time;
use crate::tree::LEAF_LEN;

/// Where a peer is asked that does not have the beginning, while the length is unknown. A download in progress of today's
/// Rust node comes to the beginning last.
const ELSEWHERE: [u64; 4] = [64 << 10, 1 << 20, 16 << 20, 256 << 20];

impl Download {
    /// What to ask this source for now, if anything.
    pub fn next_ask(
        &mut self,
        now: Time,
        address: SocketAddr,
        path: PathTerms,
        sink: &dyn Sink,
    ) -> Option<Ask> {
        if self.ended || self.waits_for_verdict || self.may_have_all() {
            return None;
        }
        let agrees = self.sources.get(&address).is_some_and(|source| self.agrees(source));
        let has_tree = self.sources.get(&address).is_some_and(|source| self.has_tree(source));
        if !self.in_order {
            self.count_rarity(now);
        }
        let rarest_first = !self.in_order && self.has_leechers;
        let source = self.sources.get_mut(&address)?;
        match source.standing {
            Standing::Liar | Standing::Waiting => None,
            Standing::Unknown | Standing::Absent => {
                if now < source.next_probe {
                    return None;
                }
                let again = source.was_probed();
                let elsewhere = source.is_tried_elsewhere();
                let told = source.have.as_ref().and_then(|have| have.has().iter().next());
                // One that sent some of it may as well be asked for what is missing.
                let lacking = source.lost_touch_with();
                let lacking = lacking.and_then(|claim| assembly_for(&self.assemblies, Some(claim)));
                let lacking = lacking.and_then(|index| self.assemblies[index].picker.first_lacking());
                let is_small = source.was_probed_in_vain();
                source.on_probe(now);
                self.wake_for(address);
                let at = match (told, lacking) {
                    (Some(range), _) => range.start,
                    (None, Some(at)) => at,
                    (None, None) => elsewhere.map_or(0, |nth| self.elsewhere(nth)),
                };
                // One byte shows as well that there are some.
                let block = if is_small { path.least_block } else { path.block };
                let block = if self.looks_only { 1 } else { block };
                Some(Ask { space: Space::Content, range: at..at + block, block, probe: true, again })
            }
            Standing::Serving if self.looks_only => None,
            Standing::Serving => {
                let tries_refused = source.may_try_refused(now);
                let terms = Terms {
                    source: address,
                    block: path.block,
                    tree_block: path.tree_block,
                    blocks: path.blocks,
                    extent: extent_len(&path),
                    first: None,
                    only_first: false,
                    aligned: source.aligned,
                    has: source.have.as_ref().and_then(HaveMap::limit),
                    rarest_first: rarest_first
                        && self.assemblies.iter().all(|a| a.picker.rarity_counted_at().is_some()),
                    refused: (!tries_refused).then_some(&source.refused),
                    round_trip: path.round_trip,
                    rate: path.rate,
                    room: sink.room(self.job),
                    has_tree,
                };
                let is_only_claim = self.assemblies.len() == 1;
                let index = assembly_for(&self.assemblies, source.claim)?;
                if !agrees || self.only.is_some_and(|only| only != address) {
                    return None;
                }
                let Some(wanted) = self.assemblies[index].next_wanted(now, terms, is_only_claim) else {
                    if let Some(have) = &mut source.have {
                        have.on_used_up();
                        self.wake_for(address);
                    }
                    return None;
                };
                if tries_refused
                    && wanted.space == Space::Content
                    && source.refused.overlaps(wanted.range.clone())
                {
                    source.on_try_refused(now);
                }
                source.asked_since.get_or_insert(now);
                let Wanted { space, range, block, again } = wanted;
                Some(Ask { space, range, block, probe: false, again })
            }
        }
    }

    /// The peer says that it does not have what was asked for.
    pub fn on_refusal(&mut self, now: Time, address: SocketAddr, ask: &Ask) {
        if ask.space == Space::Tree && self.hint().is_some() {
            self.on_no_tree(address);
            return self.give_back(address, ask, true);
        }
        let Some(source) = self.sources.get_mut(&address) else {
            return;
        };
        match source.standing {
            Standing::Serving if source.have.is_some() => {
                let assembly = assembly_for(&self.assemblies, source.claim).map(|nth| &self.assemblies[nth]);
                let below = match ask.space {
                    Space::Content => Some(ask.range.clone()),
                    Space::Tree => assembly.and_then(|a| a.content_below(ask.range.start)),
                };
                if let (Some(have), Some(range)) = (&mut source.have, below) {
                    have.refuse(now, &range, LEAF_LEN);
                }
                self.have_changed = true;
                self.wake_for(address);
            }
            Standing::Serving => {
                let whole_leaves =
                    ask.range.start.is_multiple_of(LEAF_LEN) && ask.range.end - ask.range.start == LEAF_LEN;
                if !source.aligned && !whole_leaves {
                    source.aligned = true;
                } else if ask.space == Space::Content {
                    source.refuse(now, ask.range.clone());
                } else {
                    source.on_absent(now);
                }
            }
            Standing::Unknown | Standing::Absent => source.on_absent(now),
            Standing::Liar | Standing::Waiting => {}
        }
        self.wake_for(address);
        self.give_back(address, ask, true);
    }

    /// Where to ask a peer that does not have the beginning: a part of the way into what is missing, if the length is known.
    fn elsewhere(&self, nth: u32) -> u64 {
        let nth = nth as usize;
        let Some(assembly) = self.assembly() else { return ELSEWHERE[nth % ELSEWHERE.len()] };
        let part = assembly.length() / [32, 8, 2][nth % 3];
        part.max(assembly.picker.first_missing().unwrap_or(0)) / LEAF_LEN * LEAF_LEN
    }

    /// A peer answers with whole leaves, whatever it is asked for.
    pub fn on_whole_leaf(&mut self, address: SocketAddr) {
        if let Some(source) = self.sources.get_mut(&address) {
            source.aligned = true;
        }
    }

    /// A peer that held back is ready to answer: it is asked again now, if it has not sent anything yet.
    pub fn probe_again(&mut self, now: Time, address: SocketAddr) {
        if let Some(source) = self.sources.get_mut(&address)
            && matches!(source.standing, Standing::Unknown | Standing::Absent)
        {
            source.next_probe = now;
            self.wake_for(address);
        }
    }

    /// What was asked for did not come, came in part, or was of no use.
    pub fn on_lost(&mut self, address: SocketAddr, ask: &Ask) {
        self.give_back(address, ask, false);
    }

    /// The peer does not answer any more: its part goes to others until it is back.
    pub fn on_silent(&mut self, now: Time, address: SocketAddr) {
        let others = self.serving().any(|other| other != address);
        if let Some(source) = self.sources.get_mut(&address) {
            source.on_silent(now, others);
        }
        self.have_changed = true;
        self.wake_for(address);
        self.release(address);
    }

    pub(super) fn give_back(&mut self, address: SocketAddr, ask: &Ask, release: bool) {
        if ask.probe {
            return;
        }
        self.changed |= release;
        let claim = self.sources.get(&address).and_then(|source| source.claim);
        if let Some(index) = assembly_for(&self.assemblies, claim) {
            self.assemblies[index].picker.give_back(address, ask.space, &ask.range, release);
        }
    }

    pub(super) fn release(&mut self, address: SocketAddr) {
        self.changed = true;
        for assembly in &mut self.assemblies {
            assembly.picker.release(address);
        }
    }
}
