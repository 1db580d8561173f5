//! The end of the work that the thread of the network holds: what is needed goes out, what came goes in. Nothing here waits.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;

use cjp2p_cli::ToolError;
use cjp2p_io::names::shown;
use cjp2p_io::partial_name::STAGING_FOLDER;
use std::path::PathBuf;

use super::engine::{Came, run};
use super::shared::Shared;
use super::staging::Staging;
use super::told::{Counts, Need, Summary, Told};
use super::work::Place;

/// Things that wait to be told.
const MOST_TOLD: usize = 256;

/// See the [module](self).
pub(crate) struct Running {
    shared: Arc<Shared>,
    staging: PathBuf,
    came: Sender<Came>,
    told: Receiver<Told>,
    ended: Receiver<Result<Summary, ToolError>>,
    has_ended: bool,
    /// How many needs were given out.
    asked: usize,
}

impl Running {
    pub(super) fn start(
        place: Place,
        entries: File,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Running, ToolError> {
        let shared = Arc::new(Shared::new(wake));
        let staging = place.destination.join(STAGING_FOLDER);
        let (came, incoming) = mpsc::channel();
        let (tell, told) = mpsc::sync_channel(MOST_TOLD);
        let (end, ended) = mpsc::channel();
        let of_thread = shared.clone();
        thread::Builder::new()
            .name("folder".into())
            .spawn(move || {
                let result = run(place, &entries, &of_thread, &incoming, &tell);
                let _ = end.send(result);
                of_thread.wake();
            })
            .map_err(|error| ToolError::failure(format!("threads: {error}")))?;
        Ok(Running { shared, staging, came, told, ended, has_ended: false, asked: 0 })
    }

    /// The next content to fetch. Each is named once. `None` where there are no more, or it is not known yet: then `wake` is called.
    pub(crate) fn next_need(&mut self) -> Option<Need> {
        let wanted = self.shared.wanted.get()?;
        let number = *wanted.contents.get(self.asked)?;
        self.asked += 1;
        let content = wanted.tree.content(number);
        let name = String::from_utf8_lossy(&Staging::name(&content.root, 0)).into_owned();
        Some(Need {
            number,
            root: content.root,
            length: content.length,
            path: wanted.tree.path(content.first),
            staged: self.staging.join(name),
        })
    }

    /// Content is here, right and whole.
    pub(crate) fn give(&mut self, number: u32, bytes: Vec<u8>) {
        self.shared.on_given(bytes.len());
        let _ = self.came.send(Came::Bytes(number, bytes));
    }

    /// Whether more may be given now. Otherwise `wake` is called when it may.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    /// Content is here, right and whole, at [`Need::staged`].
    pub(crate) fn done(&mut self, number: u32) {
        let _ = self.came.send(Came::Staged(number));
    }

    /// Content cannot be had: why.
    pub(crate) fn failed(&mut self, number: u32, why: String) {
        let _ = self.came.send(Came::Failed(number, why));
    }

    /// The next thing to tell. The work waits where few of them are taken.
    pub(crate) fn next_told(&mut self) -> Option<Told> {
        self.told.try_recv().ok()
    }

    /// How far it is.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// How it ended, once it has, and all was taken that is to be told.
    pub(crate) fn finished(&mut self) -> Option<Result<Summary, ToolError>> {
        if self.has_ended {
            return None;
        }
        let ended = match self.ended.try_recv() {
            Ok(ended) => ended,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                Err(ToolError::failure("the thread that writes the folder is gone"))
            }
        };
        self.has_ended = true;
        Some(ended)
    }

    /// Says where what came is kept, if anything did, where the work is given up.
    pub(crate) fn abandon(self) -> Option<String> {
        self.shared.is_abandoned.store(true, Ordering::SeqCst);
        let has_staged = self.shared.has_staged.load(Ordering::SeqCst) && !self.has_ended;
        has_staged.then(|| {
            format!("what came is kept in {}, and the same command goes on from there", shown(&self.staging))
        })
    }
}
