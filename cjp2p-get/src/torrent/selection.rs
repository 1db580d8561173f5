//! Which bytes of a torrent are wanted, and in which order: `--file`, `--range`, `--priority`, and what a magnet selects.

use std::cmp::Reverse;
use std::ops::Range;

use cjp2p_cli::ToolError;
use cjp2p_torrent::layout::Layout;
use cjp2p_torrent::magnet::Magnet;
use cjp2p_wire::folder::Entry;

use crate::folder::select::Select;
use crate::ranges::Ranges;

/// What the command line says about files.
#[derive(Debug)]
pub(crate) struct Chooser {
    /// Their numbers, counted from 1 as `--list` prints them.
    numbers: Vec<usize>,
    globs: Option<Select>,
    /// Globs with priorities, which are 0 where none of them matches.
    priorities: Vec<(Select, u8)>,
}

impl Chooser {
    /// Reads patterns of `--file` and `--priority`.
    ///
    /// # Errors
    ///
    /// One of them makes no sense.
    pub(crate) fn new(files: &[String], priorities: &[String]) -> Result<Chooser, ToolError> {
        let (numbers, globs): (Vec<_>, Vec<_>) = files
            .iter()
            .cloned()
            .partition(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()));
        let numbers = numbers.iter().map(|text| text.parse().map_err(|_| no_file(text)));
        let numbers = numbers.collect::<Result<_, _>>()?;
        let globs = if globs.is_empty() { None } else { Some(Select::new(&globs)?) };
        let priorities = priorities.iter().map(|text| {
            let wrong = || {
                ToolError::usage(format!(
                    "--priority {text:?}: write GLOB:NUMBER, with a number from 0 to 255"
                ))
            };
            let (glob, number) = text.rsplit_once(':').ok_or_else(wrong)?;
            let number = number.parse().map_err(|_| wrong())?;
            Ok((Select::new(&[glob.to_owned()])?, number))
        });
        Ok(Chooser { numbers, globs, priorities: priorities.collect::<Result<_, ToolError>>()? })
    }

    /// Which files are wanted, of those that are written.
    ///
    /// # Errors
    ///
    /// There is no file with a number that was given, or none that matches.
    pub(crate) fn choose(&self, layout: &Layout, magnet: Option<&Magnet>) -> Result<Vec<bool>, ToolError> {
        let files = layout.files();
        let is_all = self.numbers.is_empty() && self.globs.is_none();
        let mut wanted: Vec<bool> = Vec::with_capacity(files.len());
        for (index, file) in files.iter().enumerate() {
            let selected =
                magnet.is_none_or(|magnet| u32::try_from(index).is_ok_and(|index| magnet.wants(index)));
            let matches = || self.globs.as_ref().is_some_and(|globs| globs.takes(&entry(layout, index)));
            wanted.push(file.is_written() && if is_all { selected } else { matches() });
        }
        for &number in &self.numbers {
            match number
                .checked_sub(1)
                .filter(|&index| files.get(index).is_some_and(|file| file.is_written()))
            {
                Some(index) => wanted[index] = true,
                None => return Err(no_file(&number.to_string())),
            }
        }
        if wanted.contains(&true) {
            Ok(wanted)
        } else {
            Err(ToolError::failure("nothing in the torrent matches"))
        }
    }

    /// The bytes of these files in the order in which they are fetched: higher priorities first, equal ones as they lie.
    pub(crate) fn ranges(&self, layout: &Layout, wanted: &[bool]) -> Vec<Range<u64>> {
        let mut chosen: Vec<(u8, Range<u64>)> = Vec::new();
        for (index, file) in
            layout.files().iter().enumerate().filter(|(index, file)| wanted[*index] && file.len() > 0)
        {
            let priority = self.priority(layout, index);
            match chosen.last_mut() {
                Some((last, range)) if *last == priority && range.end == file.offset() => {
                    range.end = file.range().end
                }
                _ => chosen.push((priority, file.range())),
            }
        }
        chosen.sort_by_key(|(priority, _)| Reverse(*priority));
        chosen.into_iter().map(|(_, range)| range).collect()
    }

    fn priority(&self, layout: &Layout, index: usize) -> u8 {
        if self.priorities.is_empty() {
            return 0;
        }
        let entry = entry(layout, index);
        self.priorities
            .iter()
            .filter(|(glob, _)| glob.takes(&entry))
            .map(|(_, number)| *number)
            .max()
            .unwrap_or(0)
    }
}

/// The bytes that go to a reader, or to one file: `ranges` of the only file that is wanted, or all of it.
///
/// # Errors
///
/// More than one file is wanted, or a range begins past the end.
pub(crate) fn of_reader(
    layout: &Layout,
    wanted: &[bool],
    ranges: &Ranges,
) -> Result<Vec<Range<u64>>, ToolError> {
    let mut files = layout.files().iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(file, _)| file);
    let (Some(file), None) = (files.next(), files.next()) else {
        return Err(ToolError::usage(
            "several files cannot go to one reader or file: name one by --file, or a folder by -o",
        ));
    };
    if let Some(range) = ranges.past_the_end(file.len()) {
        let len = file.len();
        return Err(ToolError::usage(format!("nothing is at --range {range}: the file is {len} bytes long")));
    }
    let within = match ranges.is_empty() {
        true => std::iter::once(0..file.len()).collect(),
        false => ranges.select(file.len()),
    };
    Ok(within.into_iter().map(|range| file.offset() + range.start..file.offset() + range.end).collect())
}

/// A file as patterns see it: its path without the name of the torrent.
fn entry(layout: &Layout, index: usize) -> Entry {
    let kind = cjp2p_wire::folder::Kind::Folder { list: None };
    Entry { path: layout.path_below_top(index).clone(), kind, mtime: None }
}

fn no_file(number: &str) -> ToolError {
    ToolError::usage(format!("--file {number}: there is no file with this number; --list prints them"))
}

#[cfg(test)]
mod tests {
    use cjp2p_torrent::layout::Role;
    use cjp2p_wire::folder::FolderPath;

    use super::*;
    use crate::ranges::RangeArg;

    fn layout() -> Layout {
        let path = |text: &str| FolderPath::new(text.as_bytes()).unwrap();
        let file = Role::File { is_executable: false };
        let files =
            [("a.iso", 10, file), ("pad", 6, Role::Padding), ("b/a.nfo", 3, file), ("b/c.iso", 5, file)];
        Layout::of_folder(path("top"), files.map(|(name, len, role)| (path(name), len, role))).unwrap()
    }

    fn chooser(files: &[&str], priorities: &[&str]) -> Chooser {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Chooser::new(&owned(files), &owned(priorities)).unwrap()
    }

    #[test]
    fn files_are_chosen_by_number_glob_and_magnet() {
        let layout = layout();
        let chosen = |files: &[&str]| chooser(files, &[]).choose(&layout, None).unwrap();
        assert_eq!(chosen(&[]), [true, false, true, true]);
        assert_eq!(chosen(&["3"]), [false, false, true, false]);
        assert_eq!(chosen(&["*.iso"]), [true, false, false, true]);
        assert_eq!(chosen(&["b", "1"]), [true, false, true, true]);
        for wrong in ["0", "2", "5", "99999999999999999999"] {
            let error =
                Chooser::new(&[wrong.to_owned()], &[]).and_then(|chooser| chooser.choose(&layout, None));
            assert!(error.unwrap_err().message.contains("no file with this number"), "{wrong}");
        }
        assert!(chooser(&["x"], &[]).choose(&layout, None).is_err());
        let magnet: Magnet = format!("magnet:?xt=urn:btih:{}&so=2", "0".repeat(40)).parse().unwrap();
        assert_eq!(chooser(&[], &[]).choose(&layout, Some(&magnet)).unwrap(), [false, false, true, false]);
        assert_eq!(chooser(&["1"], &[]).choose(&layout, Some(&magnet)).unwrap(), [true, false, false, false]);
    }

    #[test]
    fn higher_priorities_come_first() {
        let layout = layout();
        let all = [true, false, true, true];
        assert_eq!(chooser(&[], &[]).ranges(&layout, &all), [0..10, 16..24]);
        assert_eq!(
            chooser(&[], &["*.nfo:9", "c*:9", "c*:200"]).ranges(&layout, &all),
            [19..24, 16..19, 0..10]
        );
        assert!(
            Chooser::new(&[], &["x".to_owned()]).is_err()
                && Chooser::new(&[], &["x:256".to_owned()]).is_err()
        );
    }

    #[test]
    fn ranges_are_of_the_one_file_that_goes_to_a_reader() {
        let layout = layout();
        let range = |text: &str| Ranges::new(vec![RangeArg::parse(text).unwrap()]);
        let third = [false, false, true, false];
        let one = |range: std::ops::Range<u64>| std::iter::once(range).collect::<Vec<_>>();
        assert!(of_reader(&layout, &third, &Ranges::default()).unwrap() == one(16..19));
        assert!(of_reader(&layout, &third, &range("1-")).unwrap() == one(17..19));
        assert!(of_reader(&layout, &third, &range("-2")).unwrap() == one(17..19));
        assert!(of_reader(&layout, &[true, false, true, false], &range("1-")).is_err());
        let past = of_reader(&layout, &third, &range("3-")).unwrap_err();
        assert_eq!(past.exit, cjp2p_cli::Exit::Usage);
        assert!(of_reader(&layout, &third, &range("2-9")).unwrap() == one(18..19));
    }
}
