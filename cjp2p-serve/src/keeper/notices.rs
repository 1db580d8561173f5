//! What notices of changes lead to: a look at a path soon, or at everything.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{MAX_TOUCHED, QUIET, Work};
use crate::watch::Notice;

impl Work {
    pub(super) fn take_notice(&mut self, notice: Notice) {
        let soon = Instant::now() + QUIET;
        match notice {
            Notice::Touched { source, relative, finished } => {
                let Some(of) = self.keeper.sources.get(source as usize) else {
                    return;
                };
                let name = relative.file_name();
                let concerns_us = match (&of.only, name) {
                    (_, None) => true,
                    (Some(only), Some(name)) => only == name,
                    (None, Some(name)) => self.keeper.rules.allow(name),
                };
                if !concerns_us {
                    return;
                }
                self.keeper.publisher.touched(source);
                if finished {
                    self.changes.remove(&(source, relative.as_path().into()));
                }
                self.look_soon(soon, source, relative);
            }
            Notice::Named { source } => {
                let of = self.keeper.sources.get(source as usize);
                if let Some(only) = of.and_then(|of| of.only.as_ref()) {
                    // Another file is not to wait because that one changed so often.
                    self.changes.remove(&(source, Path::new(only).into()));
                }
                self.look_soon(soon, source, PathBuf::new());
            }
            Notice::Mounted => {
                if self.mounts_around() != self.mounted {
                    self.rescan_at.get_or_insert(soon);
                }
            }
            Notice::Missed => {
                log::info!("too many changes at once: looking at everything");
                self.rescan_at.get_or_insert(soon);
            }
            Notice::Ended => {
                self.watch = None;
                self.blind = true;
                self.rescan_at.get_or_insert(soon);
            }
        }
    }

    /// Has a path looked at, but everything where links are followed: of a link's target it cannot be said which paths are concerned.
    pub(super) fn look_soon(&mut self, at: Instant, source: u32, relative: PathBuf) {
        if self.keeper.rules.follow {
            self.rescan_at.get_or_insert(at);
        } else if self.is_touched.insert((source, relative.clone())) {
            self.touched.push_back((at, (source, relative)));
        }
        if self.touched.len() > MAX_TOUCHED {
            (self.touched, self.is_touched) = Default::default();
            // Not only in a while, as after an error that may pass.
            self.rescan_at = Some(self.rescan_at.map_or(at, |other| other.min(at)));
        }
    }

    pub(super) fn mounts_around(&self) -> Vec<u8> {
        let sources = &self.keeper.sources;
        let paths: Vec<&Path> =
            sources.iter().flat_map(|source| [source.root.path(), &source.named]).collect();
        let mounts = self.keeper.mounts.as_ref();
        mounts.and_then(|mounts| mounts.around(&paths).ok()).unwrap_or_default()
    }
}
