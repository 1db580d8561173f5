//! What an interrupted fetch left: whatever its record says, only what is right in the partial counts.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use cjp2p_io::partial::sources::{MAX_SOURCES, Sources};
use cjp2p_io::partial::{record, record::Record, resume};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::tree::{LEAF_LEN, Level, RUN_ENTRIES, Run};

use super::input::Input;
use super::mutate::edit;
use super::sample::{SAMPLES, Sample};
use super::scratch::scratch;
use crate::content;

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = scratch();
    let (path, partial) = (folder.path().join("a.cjp2p-resume"), folder.path().join("a.cjp2p-partial"));
    let kind = input.byte();
    let sample = input.choose(&SAMPLES);
    let id = match kind & 1 {
        0 => ContentId::Blake3(sample.root),
        _ => content::sha256_id(&sample.content),
    };
    match kind >> 1 & 3 {
        0 => fs::write(&path, input.rest()).expect("the scratch folder can be written"),
        _ => write_record(&path, sample, &id, &mut input),
    }
    let mut staged = sample.content.clone();
    edit(&mut staged, &mut Input::new(input.take(8)));
    fs::write(&partial, &staged).expect("the scratch folder can be written");
    if kind >> 1 & 3 > 1 {
        let mut text = fs::read(&path).expect("the record is there");
        edit(&mut text, &mut input);
        fs::write(&path, text).expect("the scratch folder can be written");
    }
    check(&path, &partial, sample, &id, &staged);
}

/// A record as the getter writes it, with what may be true or not.
fn write_record(path: &Path, sample: &Sample, id: &ContentId, input: &mut Input<'_>) {
    let length = match input.byte() {
        0..200 => sample.content.len() as u64,
        _ => input.number(),
    };
    let mut runs: Vec<(Run, Vec<u8>)> = Vec::new();
    let mut done = RangeSet::new();
    for level in [Level(7), Level(0)] {
        for run in
            (0..sample.geometry.level_entries(level).div_ceil(RUN_ENTRIES)).map(|index| Run { level, index })
        {
            let span = sample.geometry.run_bytes(run);
            let mut bytes = sample.file[span.start as usize..span.end as usize].to_vec();
            let choice = input.byte();
            if choice >= 200 {
                edit(&mut bytes, &mut Input::new(input.take(4)));
            }
            if choice < 230 && !bytes.is_empty() {
                runs.push((run, bytes));
            }
        }
    }
    for _ in 0..input.below(8) {
        let start = input.number();
        let start = if input.byte() < 200 { start.wrapping_mul(LEAF_LEN) } else { start };
        done.insert(start..start.saturating_add(input.below(1 << 20)));
    }
    let mut written = Record::new(path.to_owned());
    let all = runs.iter().map(|(run, bytes)| (*run, &bytes[..]));
    let mut sources = Sources::default();
    sources.note(&[([127, 0, 0, 1], 1 + u16::from(input.byte())).into()], length);
    written.begin(id, length, all, &done, &sources).expect("the scratch folder can be written");
    let found = record::read(path, id).expect("it can be read").expect("it is of this content");
    assert_eq!((found.length, &found.done, &found.sources), (length, &done, &sources));
    runs.sort_by_key(|(run, _)| std::cmp::Reverse(*run));
    assert_eq!(found.runs, runs);
    let other = ContentId::Blake3([7; 32]);
    assert_eq!(record::read(path, &other).expect("it can be read"), None, "it is of other content");
}

fn check(path: &Path, partial: &Path, sample: &Sample, id: &ContentId, staged: &[u8]) {
    let file = Arc::new(File::open(partial).expect("the partial is there"));
    let loaded = resume::load(&file, path, id).expect("both files can be read");
    assert!(loaded.sources.iter().count() <= MAX_SOURCES);
    let Some(mut resume) = loaded.resume else {
        return assert!(loaded.recheck.is_none());
    };
    assert!(!resume.done.is_empty());
    assert!(resume.unchecked.is_empty() || resume.done.contains(resume.length - 1..resume.length));
    let mut next = loaded.recheck;
    while let Some(recheck) = next {
        let checked = recheck.step();
        let there = resume.unchecked.clone();
        assert!(resume.unchecked.remove(checked.range.clone()) > 0, "each is verified once");
        assert!(checked.right.iter().all(|right| there.contains(right)), "nothing else is verified");
        assert_eq!(
            checked.right.within(checked.range).map(|r| r.end - r.start).sum::<u64>(),
            checked.right.total()
        );
        for right in checked.right.iter() {
            assert_eq!(resume.done.insert(right.clone()), right.end - right.start);
        }
        next = checked.rest;
    }
    assert!(resume.unchecked.is_empty(), "all is verified in the end");
    let is_true = resume.length == sample.content.len() as u64;
    for range in resume.done.iter() {
        assert!(range.end <= resume.length && range.end <= staged.len() as u64, "{range:?} is not there");
        assert!(range.start.is_multiple_of(LEAF_LEN));
        assert!(range.end.is_multiple_of(LEAF_LEN) || range.end == resume.length, "{range:?}");
        if let ContentId::Blake3(_) = id {
            let span = range.start as usize..range.end as usize;
            assert!(
                sample.content.get(span.clone()) == Some(&staged[span]),
                "wrong bytes at {range:?} count as done"
            );
        }
    }
    let tree = match id {
        ContentId::Blake3(_) => resume.verifier.expect("such content is gone on with by its tree"),
        _ => return assert!(resume.verifier.is_none()),
    };
    if is_true {
        for (run, entries) in tree.runs() {
            let span = sample.geometry.run_bytes(run);
            let expected = &sample.file[span.start as usize..span.end as usize];
            assert!(entries.as_flattened() == expected, "a wrong {run:?} was believed");
        }
    }
}
