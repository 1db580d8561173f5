//! What a source is asked for, and what becomes of that when no answer comes, or none that is of use.

use std::net::SocketAddr;

use super::assembly::extent_len;
use super::kind::Kind;
use super::source::{Source, Standing};
use super::{Ask, Download, PathTerms, Space};
use crate::pieces::{HaveMap, Parts, Terms, Wanted};
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
        if self.is_over() || self.kind.waits_for_verdict() || self.may_have_all() || sink.is_busy(self.job) {
            return None;
        }
        if !self.in_order {
            self.leechers.count(now, &self.sources, self.kind.assemblies_mut());
        }
        match self.sources.get(address)?.standing {
            Standing::Liar | Standing::Waiting => None,
            Standing::Unknown | Standing::Absent => self.next_probe(now, address, path),
            Standing::Serving if self.looks_only => None,
            Standing::Serving => {
                let ask = self.next_part(now, address, path, sink)?;
                self.note_asked(now, &ask, path.round_trip);
                Some(ask)
            }
        }
    }

    /// Asks whether the source has the content at all.
    fn next_probe(&mut self, now: Time, address: SocketAddr, path: PathTerms) -> Option<Ask> {
        let source = self.sources.get(address).filter(|source| source.may_be_probed(now))?;
        let again = source.was_probed();
        let has = source.exchange.have.as_ref().and_then(|have| have.has().iter().next());
        // One that sent some of it may as well be asked for what is missing.
        let lacking = source.lost_touch_with().and_then(|claim| self.kind.assembly_for(Some(claim)));
        let at = has.map(|range| range.start).or_else(|| lacking?.picker().first_lacking());
        let at = at.or_else(|| source.is_tried_elsewhere().map(|nth| self.elsewhere(nth))).unwrap_or(0);
        // One byte shows as well that there are some.
        let block = match source.was_probed_in_vain() {
            _ if self.looks_only => 1,
            true => path.least_block,
            false => path.probe_block,
        };
        self.sources.get_mut(address)?.on_probe(now);
        self.sources.wake_for(address);
        Some(Ask { space: Space::Content, range: at..at + block, block, probe: true, again })
    }

    /// Where to ask a peer that does not have the beginning: a part of the way into what is missing, if the length is known.
    fn elsewhere(&self, nth: u32) -> u64 {
        let nth = nth as usize;
        let Some(assembly) = self.kind.best() else { return ELSEWHERE[nth % ELSEWHERE.len()] };
        let part = assembly.length() / [32, 8, 2][nth % 3];
        part.max(assembly.picker().first_missing().unwrap_or(0)) / LEAF_LEN * LEAF_LEN
    }

    /// Asks for a part of the content or its tree.
    fn next_part(&mut self, now: Time, address: SocketAddr, path: PathTerms, sink: &dyn Sink) -> Option<Ask> {
        let source = self.sources.get(address)?;
        let has_tree = match &self.kind {
            Kind::Proven(_) => true,
            Kind::Staged(staged) if !staged.takes_from(address, source) => return None,
            Kind::Staged(staged) => staged.has_tree(source),
        };
        let tries_refused = source.may_try_refused(now);
        let is_counted = |a: &super::Assembly| a.picker().rarity_counted_at().is_some();
        let terms = Terms {
            tree_block: path.tree_block,
            blocks: path.blocks,
            aligned: source.is_aligned,
            refused: (!tries_refused).then_some(source.refused()),
            has: source.exchange.have.as_ref().and_then(HaveMap::limit).map(|has| has as &dyn Parts),
            rarest_first: !self.in_order
                && self.leechers.any()
                && self.kind.assemblies().iter().all(is_counted),
            round_trip: path.round_trip,
            rate: path.rate,
            room: sink.room(self.job),
            has_tree,
            ..Terms::new(address, path.block, extent_len(&path))
        };
        let is_only_claim = self.kind.assemblies().len() == 1;
        let assembly = self.kind.assembly_for_mut(source.claim.length)?;
        let wanted = assembly.next_wanted(now, terms, is_only_claim);
        let source = self.sources.get_mut(address)?;
        let Some(Wanted { space, range, block, again }) = wanted else {
            if let Some(have) = &mut source.exchange.have {
                have.on_used_up();
                self.sources.wake_for(address);
            }
            return None;
        };
        if tries_refused && space == Space::Content {
            source.on_try_refused(now, &range);
        }
        source.deliveries.asked_since.get_or_insert(now);
        Some(Ask { space, range, block, probe: false, again })
    }

    /// The peer says that it does not have what was asked for.
    pub fn on_refusal(&mut self, now: Time, address: SocketAddr, ask: &Ask) {
        let hint = match &self.kind {
            Kind::Proven(_) => None,
            Kind::Staged(staged) => staged.hint(),
        };
        let Some(source) = self.sources.get_mut(address) else { return };
        if ask.space == Space::Tree && hint.is_some() {
            source.hint.on_no_tree();
            return self.give_back(address, ask, true);
        }
        match source.standing {
            Standing::Serving if source.is_presumed() => source.on_not_there(now),
            Standing::Serving if source.exchange.have.is_some() => {
                let below = match ask.space {
                    Space::Content => Some(ask.range.clone()),
                    Space::Tree => {
                        let assembly = self.kind.assembly_for(source.claim.length);
                        assembly.and_then(|a| a.content_below(ask.range.start))
                    }
                };
                if let (Some(have), Some(range)) = (&mut source.exchange.have, below) {
                    have.refuse(now, &range, LEAF_LEN);
                }
                self.leechers.note_change();
            }
            Standing::Serving => refuse(source, now, ask),
            Standing::Unknown | Standing::Absent => source.on_absent(now),
            Standing::Liar | Standing::Waiting => {}
        }
        self.sources.wake_for(address);
        self.give_back(address, ask, true);
    }

    /// A peer answers with whole leaves, whatever it is asked for.
    pub fn on_whole_leaf(&mut self, address: SocketAddr) {
        if let Some(source) = self.sources.get_mut(address) {
            source.is_aligned = true;
        }
    }

    /// A peer that held back is ready to answer: it is asked again now, if it has not sent anything yet.
    pub fn probe_again(&mut self, now: Time, address: SocketAddr) {
        if let Some(source) = self.sources.get_mut(address)
            && matches!(source.standing, Standing::Unknown | Standing::Absent)
        {
            source.probe_at(now);
            self.sources.wake_for(address);
        }
    }

    /// What was asked for did not come, came in part, or was of no use.
    pub fn on_lost(&mut self, address: SocketAddr, ask: &Ask) {
        self.give_back(address, ask, false);
    }

    /// The peer does not answer any more: its part goes to others until it is back.
    pub fn on_silent(&mut self, now: Time, address: SocketAddr) {
        let others = self.serving().any(|other| other != address);
        if let Some(source) = self.sources.get_mut(address) {
            source.on_silent(now, others);
        }
        self.leechers.note_change();
        self.sources.wake_for(address);
        self.release(address);
    }

    fn give_back(&mut self, address: SocketAddr, ask: &Ask, release: bool) {
        if ask.probe {
            return;
        }
        self.quiet_until = Time::ZERO;
        if release {
            self.sources.note_change();
        }
        if let Some(assembly) = self.kind.assembly_for_mut(self.sources.claim_of(address)) {
            assembly.give_back(address, ask, release);
        }
    }
}

/// A source that has not said which parts it has does not have this one. Perhaps it has only whole leaves.
fn refuse(source: &mut Source, now: Time, ask: &Ask) {
    let is_whole_leaf =
        ask.range.start.is_multiple_of(LEAF_LEN) && ask.range.end - ask.range.start == LEAF_LEN;
    if !source.is_aligned && !is_whole_leaf {
        source.is_aligned = true;
    } else if ask.space == Space::Content {
        source.refuse(now, ask.range.clone());
    } else {
        source.on_absent(now);
    }
}
