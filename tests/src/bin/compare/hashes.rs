//! Hashing one file, ours beside what others do.

use std::fs::{self, File};
use std::path::PathBuf;

use cjp2p_tests::lab::{Error, namespace};
use cjp2p_tests::table::Mark;

use crate::bench::{Bench, rates};
use crate::net::End;
use crate::process::{Sample, run};
use crate::report::Line;

const RATE: &str = "MB/s";

/// A program that hashes the content, and how it is told to.
struct Hasher<'a> {
    bench: &'a Bench,
    program: PathBuf,
    arguments: &'a [&'a str],
}

impl Hasher<'_> {
    /// Hashes the content, and says how long that took, and what was printed.
    fn hash(&self) -> Result<(Sample, String), Error> {
        let content = self.bench.shared()?.join("content");
        let folder = self.bench.folder()?;
        let printed = folder.path().join("stdout");
        let mut command = namespace::command(&self.program)?;
        command.args(self.arguments).arg(content).stdout(File::create(&printed)?);
        let sample = run(&self.bench.loopback, End::Getter, vec![command], folder.path())?;
        Ok((sample, digests(&fs::read_to_string(printed)?)))
    }

    /// The same, but what is printed must hold the digests `expected`.
    fn measure(&self, expected: &str) -> Result<Sample, Error> {
        let (sample, printed) = self.hash()?;
        match expected.lines().all(|digest| printed.lines().any(|other| other == digest)) {
            true => Ok(sample),
            false => Err(format!("{} printed another digest", self.program.display()).into()),
        }
    }
}

/// The digests in what was printed, one to a line.
fn digests(printed: &str) -> String {
    let words = printed.split(|c: char| !c.is_ascii_hexdigit());
    words.filter(|word| word.len() == 64).collect::<Vec<_>>().join("\n")
}

fn ours<'a>(bench: &'a Bench, arguments: &'a [&'a str]) -> Hasher<'a> {
    Hasher { bench, program: bench.programs.path("cjp2p-hash"), arguments }
}

fn theirs<'a>(bench: &'a Bench, name: &str, arguments: &'a [&'a str]) -> Result<Hasher<'a>, Error> {
    Ok(Hasher { bench, program: bench.others.find(name)?, arguments })
}

fn beside(bench: &Bench, ours: &Hasher<'_>, other: &Hasher<'_>, mark: Mark) -> Result<Vec<Line>, Error> {
    let expected = other.hash()?.1;
    let [ours, other] = bench.in_turn([&mut || ours.measure(&expected), &mut || other.measure(&expected)])?;
    Ok(vec![rates(RATE, mark, bench.size, &ours, &other)])
}

pub(crate) fn b3sum(bench: &Bench) -> Result<Vec<Line>, Error> {
    let other = theirs(bench, "b3sum", &[])?;
    beside(bench, &ours(bench, &["-a", "blake3"]), &other, Mark::AtLeast(1.0))
}

pub(crate) fn openssl(bench: &Bench) -> Result<Vec<Line>, Error> {
    let other = theirs(bench, "openssl", &["dgst", "-sha256"])?;
    beside(bench, &ours(bench, &["-a", "sha256"]), &other, Mark::AtLeast(1.0))
}

pub(crate) fn sha256sum(bench: &Bench) -> Result<Vec<Line>, Error> {
    let other = theirs(bench, "sha256sum", &[])?;
    beside(bench, &ours(bench, &["-a", "sha256"]), &other, Mark::None)
}

/// Both hashes from one read, beside the slower of the two alone.
pub(crate) fn all(bench: &Bench) -> Result<Vec<Line>, Error> {
    let [blake3, sha256, all] =
        [&["-a", "blake3"], &["-a", "sha256"], &["-a", "all"]].map(|arguments| ours(bench, arguments));
    let expected = [blake3.hash()?.1, sha256.hash()?.1].join("\n");
    let [blake3, sha256, all] =
        bench.in_turn([&mut || Ok(blake3.hash()?.0), &mut || Ok(sha256.hash()?.0), &mut || {
            all.measure(&expected)
        }])?;
    let slower = |n: usize| blake3[n].seconds.max(sha256[n].seconds);
    Ok(vec![Line::ratio(
        "seconds",
        Mark::AtMost(1.15),
        all.iter().map(|sample| sample.seconds).collect(),
        (0..all.len()).map(slower).collect(),
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_the_lines_of_all_programs() {
        let hex = "0123456789abcdef".repeat(4);
        for line in [
            format!("{hex}  content\n"),
            format!("blake3/{hex}  content\n"),
            format!("SHA2-256(content)= {hex}\n"),
        ] {
            assert_eq!(digests(&line), hex, "{line}");
        }
        assert_eq!(digests(&format!("blake3/{hex}  content\n{hex}  content\n")), format!("{hex}\n{hex}"));
        assert_eq!(digests(&format!("{hex}00  content\n")), "");
    }
}
