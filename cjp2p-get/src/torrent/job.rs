//! Before a torrent is fetched: what of it is wanted, and what is there.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
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

use super::excerpt::ExcerptPlan;
use super::selection::{Chooser, of_reader};
use super::target::Target;
use crate::sinks::stream::Output;

/// What it becomes in the end.
pub(crate) enum Finish {
    /// Its files get their places.
    Place,
    /// One file gets parts of it.
    Excerpt(ExcerptPlan),
    /// It went to a reader.
    Nothing,
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
    /// What is written, if that has a name.
    pub(crate) path: Option<PathBuf>,
    pub(crate) finish: Finish,
}

/// What came of preparing.
pub(crate) enum Prepared {
    Ready(Box<Ready>),
    /// Another process has it: what to prepare again later.
    Locked(Target),
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
    let plan = match target {
        Target::List(json) => {
            super::listing::print(layout, &wanted, json)?;
            return Ok(Prepared::Listed);
        }
        Target::Folder { path, top, unfinished, force } => {
            let again = (top.try_clone().map_err(failed)?, unfinished.try_clone().map_err(failed)?);
            let Some(staging) = Staging::open(top, unfinished, &info, force).map_err(failed)? else {
                let (top, unfinished) = again;
                return Ok(Prepared::Locked(Target::Folder { path, top, unfinished, force }));
            };
            let there =
                staging.look(&info, &|index| wanted[index]).inspect_err(|_| staging.remove_if_empty());
            let there = there.map_err(failed)?;
            let ranges = chooser.ranges(layout, &wanted);
            let files = Files::staged(info.clone(), staging, &there.placed);
            let path = path.join(crate::folder::text::path(info.name().as_bytes()));
            Plan { path: Some(path), ..Plan::new(files, there.unchecked, ranges) }
        }
        Target::Excerpt(place) => {
            let ranges = of_reader(layout, &wanted, &place.ranges)?;
            let index = wanted.iter().position(|wanted| *wanted).unwrap_or_default();
            let mut excerpt = ExcerptPlan::new(&place, layout, index)?;
            let home = || place.home.try_clone().map_err(failed);
            // What is where the files of the torrent would be is none of its affair.
            let Some(staging) = Staging::open(home()?, home()?, &info, true).map_err(failed)? else {
                return Ok(Prepared::Locked(Target::Excerpt(place)));
            };
            let mut unchecked = staging.look(&info, &|_| false).map_err(failed)?.unchecked;
            let mut unwanted = unchecked.clone();
            for piece in ranges.iter().flat_map(|range| info.pieces().overlapping(range)) {
                unwanted.remove(piece);
            }
            unwanted.iter().for_each(|piece| _ = unchecked.remove(piece));
            excerpt.keeps_rest = !unwanted.is_empty();
            let files = Files::staged(info.clone(), staging, &vec![false; layout.files().len()]);
            let path = Some(excerpt.target.clone());
            Plan { path, finish: Finish::Excerpt(excerpt), ..Plan::new(files, unchecked, ranges) }
        }
        Target::Reader { temporary, output, ranges, path } => {
            let ranges = of_reader(layout, &wanted, &ranges)?;
            let none = PieceSet::none(info.pieces().count());
            let plan = Plan::new(Files::temporary(info.clone(), temporary), none, ranges);
            let output = Some(output);
            Plan { order: Order::InOrder, finish: Finish::Nothing, output, path, ..plan }
        }
    };
    let disk = Disk::start(waker).map_err(|error| ToolError::failure(format!("threads: {error}")))?;
    let Plan { files, unchecked, ranges, order, output, path, finish } = plan;
    let store = Store::new(files, disk);
    store.recheck(&unchecked);
    let ready = Ready { store, info, wanted, ranges, order, unchecked, output, path, finish };
    Ok(Prepared::Ready(Box::new(ready)))
}

/// What is to be done, before there are threads for it.
struct Plan {
    files: Files,
    unchecked: PieceSet,
    ranges: Vec<Range<u64>>,
    order: Order,
    output: Option<Output>,
    path: Option<PathBuf>,
    finish: Finish,
}

impl Plan {
    /// Files that get their places.
    fn new(files: Files, unchecked: PieceSet, ranges: Vec<Range<u64>>) -> Plan {
        let (order, finish) = (Order::RarestFirst, Finish::Place);
        Plan { files, unchecked, ranges, order, output: None, path: None, finish }
    }
}
