//! A copy of the workspace with all changes in it, and its test programs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, str};

use serde_json::Value;

use crate::change::Change;
use crate::weave;

/// What every package with a change in it asks.
const IS_ON: &str = r#"
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod __mutant {
    pub fn is(number: usize) -> bool {
        static ON: std::sync::LazyLock<usize> =
            std::sync::LazyLock::new(|| std::env::var("MUTANT_ON").ok().and_then(|on| on.parse().ok()).unwrap_or(0));
        *ON == number
    }
}
"#;

/// A program that `cargo test` would run.
#[derive(Debug, Clone)]
pub struct Program {
    pub package: String,
    /// Whether it has the unit tests of a library.
    pub is_lib: bool,
    pub name: String,
    pub executable: PathBuf,
    /// The folder of its package, in which it runs.
    pub folder: PathBuf,
}

/// The copy.
pub struct Tree {
    root: PathBuf,
    copy: PathBuf,
    /// Where in a file of the copy what a change alone has is.
    places: BTreeMap<PathBuf, Vec<(Range<usize>, usize)>>,
}

impl Tree {
    /// Copies what git has of `root`, without changes.
    pub fn copy(root: &Path, copy: &Path) -> io::Result<Tree> {
        let mut command = Command::new("git");
        command.current_dir(root).args(["ls-files", "-z"]);
        let listed = command.output()?.stdout;
        for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            let path = Path::new(str::from_utf8(path).map_err(io::Error::other)?);
            let (from, to) = (root.join(path), copy.join(path));
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            let Ok(content) = fs::read(&from) else { continue };
            write(&to, &content)?;
            fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
        }
        Ok(Tree { root: root.to_owned(), copy: copy.to_owned(), places: BTreeMap::new() })
    }

    /// Puts the changes in. Returns those that cannot be switched, and those that cannot compile.
    pub fn weave(&mut self, changes: &[&Change]) -> io::Result<(Vec<usize>, Vec<usize>)> {
        let mut by_file: BTreeMap<&Path, Vec<&Change>> = BTreeMap::new();
        for change in changes {
            by_file.entry(&change.file).or_default().push(change);
        }
        let (mut left, mut unviable, mut texts) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (file, changes) in by_file {
            let source = fs::read_to_string(self.root.join(file))?;
            let woven = weave::weave(&source, &changes).map_err(io::Error::other)?;
            left.extend(woven.left);
            unviable.extend(woven.unviable);
            self.places.insert(file.to_owned(), woven.places);
            texts.insert(file.to_owned(), woven.text);
            let src = file.ancestors().find(|path| path.ends_with("src")).unwrap_or(Path::new("src"));
            let library = src.join("lib.rs");
            if !texts.contains_key(&library) {
                texts.insert(library.clone(), fs::read_to_string(self.root.join(library))?);
            }
        }
        for (file, mut text) in texts {
            if file.ends_with("src/lib.rs") {
                text.push_str(IS_ON);
            }
            write(&self.copy.join(file), text.as_bytes())?;
        }
        Ok((left, unviable))
    }

    /// Compiles the packages. Returns changes that do not compile: without them it may.
    pub fn check(&self, packages: &BTreeSet<&str>) -> io::Result<BTreeSet<usize>> {
        let mut arguments = vec!["test", "--no-run", "--lib", "--message-format=json"];
        for package in packages {
            arguments.extend(["-p", package]);
        }
        let mut unviable = BTreeSet::new();
        let mut unknown = String::new();
        let is_done = self.cargo(&arguments, |message| {
            if message["reason"] == "compiler-message" && message["message"]["level"] == "error" {
                let found = self.blamed(&message["message"]);
                if found.is_none() {
                    unknown += message["message"]["rendered"].as_str().unwrap_or("");
                }
                unviable.extend(found);
            }
        })?;
        if !is_done && unviable.is_empty() {
            return Err(io::Error::other(format!("the changes do not compile:\n{unknown}")));
        }
        Ok(unviable)
    }

    /// The change whose text an error of the compiler points to.
    fn blamed(&self, message: &Value) -> Option<usize> {
        let mut spans: Vec<_> = message["spans"].as_array()?.iter().collect();
        spans.sort_by_key(|span| span["is_primary"] != true);
        spans.into_iter().find_map(|span| {
            let places = self.places.get(Path::new(span["file_name"].as_str()?))?;
            let start = span["byte_start"].as_u64()? as usize;
            let end = span["byte_end"].as_u64()? as usize;
            places.iter().find(|(place, _)| place.start <= start && end <= place.end).map(|(_, owner)| *owner)
        })
    }

    /// Builds test programs, of some packages or, without any, of the whole workspace: the unit tests of libraries only, or all.
    pub fn programs(&self, packages: &BTreeSet<&str>, units_only: bool) -> io::Result<Vec<Program>> {
        let mut arguments = vec!["test", "--no-run", "--message-format=json"];
        if packages.is_empty() {
            arguments.push("--workspace");
        }
        packages.iter().for_each(|package| arguments.extend(["-p", package]));
        if units_only {
            arguments.push("--lib");
        } else if !self.cargo(&["build", "--workspace", "--bins"], |_| ())? {
            return Err(io::Error::other("the programs do not build"));
        }
        let mut programs = Vec::new();
        let is_done = self.cargo(&arguments, |message| {
            let Some(executable) = message["executable"].as_str() else { return };
            let Some(manifest) = message["manifest_path"].as_str() else { return };
            if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
                return;
            }
            let folder = Path::new(manifest).parent().unwrap_or(Path::new("/")).to_owned();
            // A package has the name of its folder, or one more word.
            let manifest = fs::read_to_string(manifest).unwrap_or_default();
            let package = manifest.lines().find_map(|line| line.strip_prefix("name = "));
            programs.push(Program {
                package: package.unwrap_or("").trim_matches('"').to_owned(),
                is_lib: message["target"]["kind"][0] == "lib",
                name: message["target"]["name"].as_str().unwrap_or("").to_owned(),
                executable: executable.into(),
                folder,
            });
        })?;
        if !is_done {
            return Err(io::Error::other("the tests do not build"));
        }
        Ok(programs)
    }

    /// Runs cargo in the copy, and hands on what it tells. Returns whether it was successful.
    fn cargo(&self, arguments: &[&str], mut told: impl FnMut(&Value)) -> io::Result<bool> {
        let mut command = Command::new("cargo");
        command.current_dir(&self.copy).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("CARGO_TARGET_DIR", self.copy.join("target"));
        let mut cargo = command.spawn()?;
        let (output, errors) = (cargo.stdout.take(), cargo.stderr.take());
        // What it says for people, only to keep the pipe empty.
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            errors.map(|mut errors| errors.read_to_string(&mut said));
            said
        });
        for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
            if let Ok(message) = serde_json::from_str(&line?) {
                told(&message);
            }
        }
        let is_done = cargo.wait()?.success();
        // The compiler's errors are among what is told; this may be another.
        let said = said.join().unwrap_or_default();
        if !is_done && !said.contains("could not compile") {
            eprintln!("{said}");
        }
        Ok(is_done)
    }
}

/// Writes what is not there already: cargo looks at the times.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::write(path, content)
}
