//! How the fetch of a torrent ends: when all is done, by a limit, or by an error.

use cjp2p_cli::{Exit, ToolError};
use cjp2p_torrent::store::PieceStore;
use cjp2p_wire::time::Time;

use super::fetcher::{Fetcher, Step};
use super::outlet::Outlet;
use crate::report::{TorrentDone, TorrentNumbers};
use crate::torrent_args::TorrentArgs;

impl Fetcher {
    /// Everything is where it belongs.
    pub(super) fn done(&mut self, now: Time) -> Result<(), ToolError> {
        let status = self.status();
        if let (Some(info), Some(path)) = (&self.info, self.path.clone()) {
            let files = self.wanted.iter().filter(|wanted| **wanted).count() as u64;
            let numbers = TorrentNumbers {
                length: status.wanted,
                files,
                took_ms: now.since(self.started).as_millis() as u64,
                received: status.received,
                sent: status.sent,
                wasted: self.wasted,
                resumed: self.resumed,
                already: status.received == 0,
            };
            let (hash, ranges) = (info.hash().to_string(), self.ranges.take());
            self.report.torrent_done(TorrentDone { hash, path, ranges, numbers })?;
        }
        if status.received > 0 {
            self.sources.on_complete(now, &status);
        }
        let TorrentArgs { seed_for, seed_ratio, .. } = self.args;
        self.step = match (seed_for, seed_ratio) {
            (None, None) => Step::Over,
            (Some(time), _) => Step::Seeding(now + time),
            (None, Some(_)) => Step::Seeding(Time::NEVER),
        };
        Ok(())
    }

    pub(super) fn note_news(&mut self, now: Time) {
        let status = self.status();
        let written = self.outlet.as_ref().map_or(0, Outlet::written);
        let news = status.received + status.done + written;
        if news > self.news {
            (self.news, self.news_at) = (news, now);
        }
        // While the reader takes nothing, or threads are at work, nobody is late.
        let waits =
            self.outlet.as_ref().is_some_and(|outlet| status.done >= outlet.room().min(status.wanted));
        let is_full = self.driver.store(self.id).is_some_and(|store| store.room() == 0);
        if waits
            || is_full
            || !self.unchecked.is_empty()
            || !matches!(self.step, Step::Looking | Step::Fetching)
        {
            self.news_at = now;
        }
    }

    pub(super) fn look_at_limits(&mut self, now: Time) -> Result<(), ToolError> {
        let status = self.status();
        match self.step {
            Step::Looking | Step::Fetching => {
                let has_some = status.received > 0 || status.done > 0;
                let limit = if has_some { self.stall } else { self.timeout };
                if now.since(self.news_at) < limit {
                    return Ok(());
                }
                if has_some {
                    let peers = status.peers;
                    let message =
                        format!("no new data for {}; {peers} peers", cjp2p_cli::duration::human(limit));
                    return Err(ToolError::new(Exit::Stalled, message));
                }
                let what = match (&self.step, status.peers) {
                    (Step::Looking, 0) => "no peer tells what is in it".to_owned(),
                    (Step::Looking, peers) => format!("none of {peers} peers tells what is in it"),
                    (_, 0) => "no peer has sent any of it".to_owned(),
                    (_, peers) => format!("none of {peers} peers has sent any of it"),
                };
                let lacking = self.sources.lacking();
                Err(ToolError::new(Exit::NoSource, format!("{what}{lacking}")))
            }
            Step::Seeding(until) => {
                let enough = self.args.seed_ratio.map(|ratio| ratio * status.wanted as f64);
                if now >= until || enough.is_some_and(|enough| status.sent as f64 >= enough) {
                    self.step = Step::Over;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Says good-bye, before a signal ends the process.
    pub(crate) fn end(mut self) {
        self.sources.end(&self.status());
    }

    /// Tells how it ended.
    pub(crate) fn finish(mut self) -> Exit {
        self.sources.end(&self.status());
        self.shown_at = Time::ZERO;
        self.show_progress(self.session.now());
        self.progress.finish();
        Exit::Done
    }

    /// Tells what went wrong, and gives the error that ends the tool.
    pub(crate) fn fail(mut self, error: ToolError) -> ToolError {
        self.sources.end(&self.status());
        if let Some(staging) = self.driver.store(self.id).and_then(|store| store.files().staging()) {
            staging.remove_if_empty();
        }
        let name = format!("urn:btih:{}", self.given.info_hash());
        match self.report.folder_failed(&name, &error) {
            // It was told.
            Ok(()) => ToolError::new(error.exit, ""),
            Err(error) => error,
        }
    }
}
