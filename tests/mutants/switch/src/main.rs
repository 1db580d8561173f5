//! Tries all changes that cargo-mutants lists for some files, each on the tests, with one build for all of them: every change is
//! in the program, and a variable in the environment switches one on. What needs another build for each change, takes a day; this
//! takes minutes for unit tests.
//!
//!     cjp2p-mutants ROOT OUT module|package|all FILE...
//!
//! `module` tries the unit tests of the changed file's module, `package` what survives on those of its package, `all` what
//! survives that on every test of the workspace. OUT/outcomes has a line for each change: what noticed it, or that nothing did.
//! Those that an earlier run in OUT saw noticed are not tried again.

mod attempt;
mod change;
mod tree;
mod weave;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use attempt::Outcome;
use change::Change;
use tree::{Program, Tree};

/// For unit tests, which take seconds; a busy machine takes several times as long.
const UNIT_LIMIT: Duration = Duration::from_secs(150);
/// For all other tests.
const LIMIT: Duration = Duration::from_secs(1800);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, out, rounds, files @ ..] = &arguments[..] else {
        eprintln!("cjp2p-mutants ROOT OUT module|package|all FILE...");
        return ExitCode::from(2);
    };
    match run(Path::new(root), Path::new(out), rounds, files) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cjp2p-mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, out: &Path, rounds: &str, files: &[String]) -> io::Result<()> {
    let (root, out) = (fs::canonicalize(root)?, {
        fs::create_dir_all(out)?;
        fs::canonicalize(out)?
    });
    let mut changes = change::list(&root, files)?;
    // In the order in which the files were named.
    changes.sort_by_key(|change| files.iter().position(|file| Path::new(file) == change.file));
    let path = out.join("outcomes");
    let known: BTreeMap<String, String> = fs::read_to_string(&path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(outcome, name)| (name.to_owned(), outcome.to_owned()))
        .collect();
    let mut tree = Tree::copy(&root, &out.join("tree"))?;
    let packages: BTreeSet<&str> = changes.iter().map(|change| change.package.as_str()).collect();

    // Until all that is left compiles.
    let mut unviable: BTreeSet<usize> = changes
        .iter()
        .filter(|change| known.get(&change.name).is_some_and(|outcome| outcome == "does not compile"))
        .map(|change| change.number)
        .collect();
    let left = loop {
        let viable: Vec<_> = changes.iter().filter(|change| !unviable.contains(&change.number)).collect();
        let (left, never) = tree.weave(&viable)?;
        unviable.extend(never);
        let found = tree.check(&packages)?;
        if found.is_empty() {
            break left;
        }
        unviable.extend(found);
    };
    let file = OpenOptions::new().create(true).append(true).open(&path)?;
    let outcomes = Outcomes(Mutex::new(file));
    let mut open = Vec::new();
    for change in &changes {
        match known.get(&change.name) {
            _ if unviable.contains(&change.number) => outcomes.add(change, "does not compile")?,
            _ if left.contains(&change.number) => outcomes.add(change, "cannot be switched")?,
            Some(outcome) if outcome.starts_with("noticed") => {}
            _ => open.push(change),
        }
    }
    eprintln!("{} changes, {} of them do not compile", changes.len(), unviable.len());

    let units = tree.programs(&packages, true)?;
    // Unit tests use several threads themselves.
    let at_a_time = std::thread::available_parallelism()?.get().div_ceil(4);
    works(&units)?;
    eprintln!("{} on the tests of their modules", open.len());
    open = outcomes.round(open, at_a_time, |change| {
        let module = change.module();
        first_notice(&units, change, Some(&module), UNIT_LIMIT)
    })?;
    if rounds != "module" && !open.is_empty() {
        eprintln!("{} on the unit tests of their packages", open.len());
        open = outcomes.round(open, at_a_time, |change| first_notice(&units, change, None, UNIT_LIMIT))?;
    }
    if rounds != "module" && !open.is_empty() {
        let mut programs = tree.programs(&packages, false)?;
        programs.retain(|program| !program.is_lib);
        works(&programs)?;
        eprintln!("{} on the other tests of their packages", open.len());
        open = outcomes.round(open, 1, |change| first_notice(&programs, change, None, LIMIT))?;
    }
    if rounds == "all" && !open.is_empty() {
        let mut programs = tree.programs(&BTreeSet::new(), false)?;
        let is_own = |program: &Program| packages.contains(program.package.as_str());
        // Those of whole programs take longest.
        programs.sort_by_key(|program| program.name == "process");
        works(&programs)?;
        eprintln!("{} on all other tests", open.len());
        open = outcomes.round(open, 1, |change| {
            let others: Vec<_> = programs
                .iter()
                .filter(|program| !is_own(program) || program.package != change.package)
                .map(|program| Program { package: change.package.clone(), ..program.clone() })
                .collect();
            first_notice(&others, change, None, LIMIT)
        })?;
    }
    eprintln!("{} survive", open.len());
    Ok(())
}

/// Without any change they must pass.
fn works(programs: &[Program]) -> io::Result<()> {
    for program in programs {
        if let Outcome::Noticed(what) = attempt::run(program, 0, None, LIMIT)? {
            let (package, name) = (&program.package, &program.name);
            return Err(io::Error::other(format!("without any change {what} fails in {name} of {package}")));
        }
    }
    Ok(())
}

/// Tries a change on the programs of its package until one notices it.
fn first_notice(
    programs: &[Program],
    change: &Change,
    filter: Option<&str>,
    limit: Duration,
) -> io::Result<Outcome> {
    for program in programs.iter().filter(|program| program.package == change.package) {
        let outcome = attempt::run(program, change.number, filter, limit)?;
        if outcome != Outcome::Passed {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Passed)
}

/// The file that has them.
struct Outcomes(Mutex<fs::File>);

impl Outcomes {
    fn add(&self, change: &Change, outcome: &str) -> io::Result<()> {
        let mut file = self.0.lock().map_err(|_| io::Error::other("a thread failed"))?;
        writeln!(file, "{outcome}\t{}", change.name)
    }

    /// Tries changes, some at a time. Returns those that nothing noticed.
    fn round<'a>(
        &self,
        changes: Vec<&'a Change>,
        at_a_time: usize,
        attempt: impl Fn(&Change) -> io::Result<Outcome> + Sync,
    ) -> io::Result<Vec<&'a Change>> {
        let next = AtomicUsize::new(0);
        let survivors = Mutex::new(Vec::new());
        let work = || -> io::Result<()> {
            while let Some(&change) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
                match attempt(change)? {
                    Outcome::Noticed(test) => self.add(change, &format!("noticed by {test}"))?,
                    Outcome::Hung => self.add(change, "hangs")?,
                    Outcome::Passed => {
                        self.add(change, "survives")?;
                        survivors.lock().map_err(|_| io::Error::other("a thread failed"))?.push(change);
                    }
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..at_a_time).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread failed")))
            })
        })?;
        let mut survivors = survivors.into_inner().map_err(|_| io::Error::other("a thread failed"))?;
        survivors.sort_by_key(|change| change.number);
        Ok(survivors)
    }
}
