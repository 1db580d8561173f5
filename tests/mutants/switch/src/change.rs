//! The changes, as `cargo mutants --list --json` tells them.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a change does to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The function does nothing but to return a value.
    Value,
    /// Another operator with two operands, or none of one.
    Operator,
    /// A match has an arm less.
    Arm,
    /// A guard is always true, or always false.
    Guard,
    /// A field is taken from the base of a struct.
    Field,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Change {
    /// The variable in the environment that switches it on has this value.
    pub number: usize,
    /// As cargo-mutants calls it.
    pub name: String,
    /// The file, below the root of the workspace.
    pub file: PathBuf,
    /// The package of the file.
    pub package: String,
    pub kind: Kind,
    /// What is there now, in bytes of the file.
    pub span: Range<usize>,
    /// What is there instead.
    pub replacement: String,
}

impl Change {
    /// The module of the file within its package, as names of unit tests begin.
    pub fn module(&self) -> String {
        let path = self.file.with_extension("");
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let src = parts.iter().rposition(|part| part == "src").unwrap_or(0);
        parts[src + 1..].join("::")
    }
}

/// All changes of these files.
pub fn list(root: &Path, files: &[String]) -> io::Result<Vec<Change>> {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["mutants", "--no-config", "--list", "--json"]);
    for file in files {
        command.args(["--file", file]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let listed: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let mut changes = Vec::new();
    for value in listed {
        let file = PathBuf::from(text(&value, "file")?);
        let source = std::fs::read_to_string(root.join(&file))?;
        let start = offset(&source, &value["span"]["start"])?;
        let end = offset(&source, &value["span"]["end"])?;
        let kind = match text(&value, "genre")? {
            "FnValue" => Kind::Value,
            "BinaryOperator" | "UnaryOperator" => Kind::Operator,
            "MatchArm" => Kind::Arm,
            "MatchArmGuard" => Kind::Guard,
            "StructField" => Kind::Field,
            other => return Err(io::Error::other(format!("{other} is not known"))),
        };
        changes.push(Change {
            // Zero is none of them.
            number: changes.len() + 1,
            name: text(&value, "name")?.to_owned(),
            file,
            package: text(&value, "package")?.to_owned(),
            kind,
            span: start..end,
            replacement: text(&value, "replacement")?.to_owned(),
        });
    }
    Ok(changes)
}

fn text<'a>(value: &'a Value, field: &str) -> io::Result<&'a str> {
    value[field].as_str().ok_or_else(|| io::Error::other(format!("cargo-mutants told no {field}")))
}

/// Lines and columns begin with one; columns are characters.
fn offset(source: &str, place: &Value) -> io::Result<usize> {
    let missing = || io::Error::other("cargo-mutants told a place that is not in the file");
    let line = place["line"].as_u64().ok_or_else(missing)? as usize;
    let column = place["column"].as_u64().ok_or_else(missing)? as usize;
    let begin: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = source.get(begin..).ok_or_else(missing)?;
    Ok(begin + rest.chars().take(column - 1).map(char::len_utf8).sum::<usize>())
}
