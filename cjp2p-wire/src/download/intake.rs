//! What comes from sources: whom to believe about the length, and whom to leave alone.

use std::net::SocketAddr;

use super::assembly::{Assembly, Check};
use super::kept::ENOUGH_STAGERS;
use super::source::Standing;
use super::{Block, Download, DownloadEvent, Failure, Space, assembly_for};
use crate::content_id::ContentId;
use crate::store::Sink;
use crate::time::Time;
use crate::tree::verify_whole;

impl Download {
    /// Takes in a block that `address` sent in answer to a request. Returns whether it was of use; where it was not,
    /// what was asked for must be given back with [`Download::on_lost`].
    pub fn on_block(
        &mut self,
        now: Time,
        address: SocketAddr,
        block: Block<'_>,
        sink: &mut dyn Sink,
    ) -> bool {
        let is_liar =
            |fetch: &Download| fetch.sources.get(&address).is_none_or(|s| s.standing == Standing::Liar);
        if self.ended || is_liar(self) {
            return false;
        }
        if self.looks_only {
            return self.take_offer(now, address, &block);
        }
        let bytes = block.data.len() as u64;
        self.received += bytes;
        let used = self.take_claim(now, address, &block, sink) && self.take_bytes(now, address, &block, sink);
        if !used {
            self.wasted += bytes;
        }
        self.settle_claims(now);
        self.check_hint(now, sink);
        self.check_complete();
        #[cfg(debug_assertions)]
        for assembly in self.assemblies.iter().filter(|assembly| assembly.length() < 1 << 20) {
            assembly.picker.check_invariants();
        }
        used && !is_liar(self)
    }

    /// Bytes came that nobody waits for: they were asked for twice, or never.
    pub fn on_unwanted(&mut self, bytes: u64) {
        self.received += bytes;
        self.wasted += bytes;
    }

    /// Notes the length that the source claims. Returns whether its bytes are worth a look.
    fn take_claim(&mut self, now: Time, address: SocketAddr, block: &Block<'_>, sink: &mut dyn Sink) -> bool {
        if block.data.is_empty() && block.length != Some(0) {
            let claim = self.sources.get(&address).and_then(|source| source.claim);
            if let (Space::Content, Some(length), Some(_)) = (block.space, block.length, claim) {
                self.note_claim(now, address, length, block.answers);
            }
            return false;
        }
        if let (Space::Content, Some(length)) = (block.space, block.length) {
            if block.offset + block.data.len() as u64 > length {
                self.accuse(now, address, block.answers, "it sent bytes past the end it claims");
                return false;
            }
            if !self.note_claim(now, address, length, block.answers) {
                return false;
            }
        }
        let Some(source) = self.sources.get_mut(&address) else { return false };
        let claim = source.claim;
        let is_first = source.standing != Standing::Serving;
        let is_found = !self.found;
        source.on_serving();
        source.fell_silent = false;
        source.asked_since = None;
        source.gave += block.data.len() as u64;
        source.has_given = true;
        source.has_withdrawn = false;
        source.gave_unvalidated |= !block.answers;
        if block.space == Space::Content {
            source.on_sent(block.offset..block.offset + block.data.len() as u64);
        }
        self.found = true;
        if !is_first {
            return true;
        }
        if is_found {
            self.count_from(now);
        }
        match claim {
            Some(length) => self.begin_claim(now, address, length, block, sink),
            None => true,
        }
    }

    /// Notes a length that the source claims. Returns whether it may.
    pub(super) fn note_claim(&mut self, now: Time, address: SocketAddr, length: u64, answers: bool) -> bool {
        let Some(source) = self.sources.get_mut(&address) else { return false };
        // What was said in its name before it proved its address, somebody else may have said.
        let replaces = source.claim.is_none() || (answers && !source.claim_is_its_own);
        if source.claim != Some(length) {
            if !replaces {
                self.accuse(now, address, answers, "it changed the length it claims");
                return false;
            }
            source.claim = Some(length);
            source.standing = Standing::Unknown;
        }
        if answers && !source.claim_is_its_own {
            source.claim_is_its_own = true;
            source.strikes = 0;
        }
        true
    }

    /// A source claims a length for the first time: takes it up, unless one is proven already.
    pub(super) fn begin_claim(
        &mut self,
        now: Time,
        address: SocketAddr,
        length: u64,
        block: &Block<'_>,
        sink: &mut dyn Sink,
    ) -> bool {
        let mut proven = self
            .assemblies
            .iter()
            .filter(|a| a.is_proven && matches!(a.check, Check::Tree(_) | Check::Root(_) | Check::AtTheEnd));
        if let Some(proven) = proven.next().map(Assembly::length) {
            if proven != length {
                self.accuse(now, address, block.answers, "the length it claims is not the proven one");
            }
            return proven == length;
        }
        if length == 0 && !matches!(self.id, ContentId::Name(_)) {
            self.accuse(now, address, block.answers, "it says that the content is empty");
            return false;
        }
        if self.is_staged() {
            if self.assemblies.is_empty() {
                self.begin_attempt(now, length, None, sink);
            } else {
                self.follow_hint(now, address, sink);
                self.try_shorter(now, sink);
            }
            return true;
        }
        let ContentId::Blake3(root) = self.id else { return false };
        if block.offset == 0
            && block.data.len() as u64 == length
            && let Some(verified) = verify_whole(&root, block.data)
        {
            match sink.write(self.job, verified) {
                Ok(()) => self.complete_at_once(length),
                Err(error) => self.fail(Failure::Destination(error)),
            }
            return true;
        }
        self.settle_claims(now);
        true
    }

    /// Puts the bytes where they belong.
    fn take_bytes(&mut self, now: Time, address: SocketAddr, block: &Block<'_>, sink: &mut dyn Sink) -> bool {
        if self.ended {
            return true;
        }
        if self.only.is_some_and(|only| only != address) || self.waits_for_verdict {
            return false;
        }
        let Some(source) = self.sources.get(&address).filter(|source| self.agrees(source)) else {
            return false;
        };
        let claim = source.claim;
        let Some(index) = assembly_for(&self.assemblies, claim) else { return false };
        // Others wait where too much is being gathered.
        self.changed |= self.assemblies[index].picker.is_contended();
        let taken = self.assemblies[index].on_bytes(address, block.space, block.offset, block.data, sink);
        let outcome = match taken {
            Ok(outcome) => outcome,
            Err(error) => {
                self.fail(Failure::Destination(error));
                return false;
            }
        };
        if let Some(offset) = outcome.lacks_runs {
            self.assemblies[index].begin_runs_for(offset);
            self.changed = true;
        }
        if outcome.verified {
            self.count_from(now);
        }
        if outcome.new > 0 {
            self.last_news = now;
            if let Some(source) = self.sources.get_mut(&address) {
                source.news_at = Some(now);
                source.brought += outcome.new;
            }
            if self.is_staged() {
                self.attempt_since = now;
                self.attempt_pace.on_new(outcome.new);
                if self.stagers.len() < ENOUGH_STAGERS {
                    self.stagers.insert(address);
                }
            }
        }
        self.wasted += (block.data.len() as u64).saturating_sub(outcome.new);
        self.changed |= !outcome.liars.is_empty();
        for (liar, bytes) in outcome.liars {
            self.wasted += bytes;
            self.take_back_news_of(liar);
            if self.set_aside(liar) {
                continue;
            }
            let certain = self.gave_all(liar);
            self.accuse(now, liar, certain, "it sent bytes that are not of this content");
        }
        true
    }

    /// The limits of time count from now on.
    pub(super) fn count_from(&mut self, now: Time) {
        self.last_news = now;
        self.news_since = now;
    }

    /// What this source brought was wrong, so it was no news: nobody keeps a fetch waiting with it.
    fn take_back_news_of(&mut self, liar: SocketAddr) {
        if let Some(source) = self.sources.get_mut(&liar) {
            source.news_at = None;
        }
        let news = self.sources.values().filter_map(|source| source.news_at);
        self.last_news = news.max().map_or(self.news_since, |at| at.max(self.news_since));
    }

    /// Whether all that came from this address is certainly from there. Otherwise somebody else may have sent some of it.
    pub(super) fn gave_all(&self, address: SocketAddr) -> bool {
        self.sources.get(&address).is_some_and(|source| source.claim_is_its_own && !source.gave_unvalidated)
    }

    pub(super) fn accuse_of_claims_other_than(&mut self, now: Time, length: u64) {
        let others =
            self.sources.iter().filter(|(_, source)| source.claim.is_some_and(|claim| claim != length));
        let wrong: Vec<(SocketAddr, bool)> =
            others.map(|(&a, source)| (a, source.claim_is_its_own)).collect();
        for (address, certain) in wrong {
            self.accuse(now, address, certain, "the length it claims is not the proven one");
        }
    }

    /// A fault of a source. It is left alone from now on where it is certain that the fault is its own. Otherwise somebody
    /// else may have spoken in its name, and it may begin anew, after ever longer pauses if there are many.
    pub(super) fn accuse(&mut self, now: Time, address: SocketAddr, certain: bool, why: &'static str) {
        let Some(source) = self.sources.get_mut(&address) else { return };
        source.strikes += 1;
        if source.standing == Standing::Liar {
            return;
        }
        self.lied_to = true;
        if certain {
            source.standing = Standing::Liar;
            self.events.push_back(DownloadEvent::Misbehaved(address, why));
        } else {
            log::debug!("{address}, or somebody in its name: {why}");
            source.on_doubt(now);
            self.wake_for(address);
        }
        self.release(address);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::download::{Failure, PathTerms, Spec};
    use crate::store::JobId;

    struct Nowhere;

    impl Sink for Nowhere {
        fn room(&self, _: JobId) -> u64 {
            u64::MAX
        }
    }

    #[test]
    fn what_turns_out_wrong_keeps_no_fetch_waiting() {
        let at = |seconds: u64| Time::from_millis(seconds * 1000);
        let liar = SocketAddr::from(([10, 0, 0, 1], 24254));
        let spec = Spec {
            id: ContentId::Blake3(*blake3::hash(&[1; 3000]).as_bytes()),
            ranges: Vec::new(),
            in_order: false,
            resume: None,
            source_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        };
        let mut fetch = Download::new(at(0), JobId(0), spec, 1);
        fetch.add_source(at(0), liar, false);
        let path = PathTerms {
            block: 500,
            tree_block: 500,
            least_block: 100,
            blocks: 1,
            round_trip: Duration::from_millis(1),
            is_short: false,
            rate: 100.0,
        };
        for second in 1..9 {
            let Some(ask) = fetch.next_ask(at(second), liar, path, &Nowhere) else { continue };
            let (space, offset, data) = (ask.space, ask.range.start, [7; 500]);
            let block = Block { space, offset, data: &data, length: Some(3000), answers: true };
            fetch.on_block(at(second), liar, block, &mut Nowhere);
        }
        fetch.handle_timeout(at(10), &mut Nowhere);
        assert!(!fetch.is_over(), "it was found a second after the start");
        fetch.handle_timeout(at(11), &mut Nowhere);
        let events: Vec<DownloadEvent> = std::iter::from_fn(|| fetch.poll_event()).collect();
        assert!(
            matches!(events[..], [DownloadEvent::Misbehaved(..), DownloadEvent::Failed(Failure::Mismatch)]),
            "{events:?}"
        );
    }
}
