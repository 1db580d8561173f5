//! What is to become of a torrent: a folder, a reader, or a list of its files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::event_loop::Waker;
use cjp2p_io::torrent::disk::Disk;
use cjp2p_io::torrent::files::Files;
use cjp2p_io::torrent::staging::Staging;
use cjp2p_io::torrent::store::Store;
use cjp2p_torrent::magnet::Magnet;
use cjp2p_torrent::metainfo::Info;
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::swarm::Order;

use super::selection::{Chooser, of_reader};
use crate::ranges::Ranges;
use crate::sinks::stream::Output;

/// Where it goes.
pub(crate) enum Target {
    /// Files in this folder; what is there already may be replaced.
    Folder { folder: OwnedFd, force: bool },
    /// One file, in order, by way of a file without a name.
    Reader { temporary: File, output: Output, ranges: Ranges },
    /// A list of the files; as JSON where it is true.
    List(bool),
}

/// A torrent whose files are known, and what is there of it.
pub(crate) struct Ready {
    pub(crate) store: Store,
    pub(crate) info: Arc<Info>,
    /// Which files are wanted.
    pub(crate) wanted: Vec<bool>,
    /// The bytes that are, in order of importance.
    pub(crate) ranges: Vec<Range<u64>>,
    pub(crate) order: Order,
    /// Pieces that may be there already.
    pub(crate) unchecked: PieceSet,
    /// The reader, if it goes to one.
    pub(crate) output: Option<Output>,
}

/// What came of preparing.
pub(crate) enum Prepared {
    Ready(Box<Ready>),
    /// Another process has it: what to prepare again later.
    Locked(OwnedFd),
    /// There was nothing to do but to print.
    Listed,
}

/// Looks at what is there of a torrent. To be called where one may wait for a disk.
///
/// # Errors
///
/// Nothing that is wanted is in it, something else is in its place, or the disk fails.
pub(crate) fn prepare(
    info: Arc<Info>,
    magnet: Option<&Magnet>,
    chooser: &Chooser,
    target: Target,
    waker: Waker,
) -> Result<Prepared, ToolError> {
    let layout = info.layout();
    let wanted = chooser.choose(layout, magnet)?;
    let failed = |error: io::Error| ToolError::new(Exit::Destination, error.to_string());
    let (files, unchecked, ranges, order, output) = match target {
        Target::List(json) => {
            super::listing::print(layout, &wanted, json)?;
            return Ok(Prepared::Listed);
        }
        Target::Folder { folder, force } => {
            let again = folder.try_clone().map_err(failed)?;
            let Some(staging) = Staging::open(folder, &info, force).map_err(failed)? else {
                return Ok(Prepared::Locked(again));
            };
            let there =
                staging.look(&info, &|index| wanted[index]).inspect_err(|_| staging.remove_if_empty());
            let there = there.map_err(failed)?;
            let ranges = chooser.ranges(layout, &wanted);
            let files = Files::staged(info.clone(), staging, &there.placed);
            (files, there.unchecked, ranges, Order::RarestFirst, None)
        }
        Target::Reader { temporary, output, ranges } => {
            let ranges = of_reader(layout, &wanted, &ranges)?;
            let none = PieceSet::none(info.pieces().count());
            (Files::temporary(info.clone(), temporary), none, ranges, Order::InOrder, Some(output))
        }
    };
    let disk = Disk::start(waker).map_err(|error| ToolError::failure(format!("threads: {error}")))?;
    let store = Store::new(files, disk);
    store.recheck(&unchecked);
    Ok(Prepared::Ready(Box::new(Ready { store, info, wanted, ranges, order, unchecked, output })))
}
