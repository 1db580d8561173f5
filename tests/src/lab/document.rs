//! Tables that a program prints, and keeps in a document between two comments of Markdown: `<!-- NAME -->` and
//! `<!-- end of NAME -->`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// What a program prints, and where it goes beside standard output.
pub struct Output {
    text: String,
    part: Option<Part>,
}

impl Output {
    /// Prints; at the end the part `name` of the document at `path`, if given, is replaced too.
    ///
    /// # Errors
    ///
    /// Where the document has no such part: told now, before anything is measured for it.
    pub fn new(path: Option<&Path>, name: &str) -> Result<Output, Error> {
        let part = path.map(|path| Part::find(path, name)).transpose()?;
        Ok(Output { text: String::new(), part })
    }

    /// Prints this at once.
    ///
    /// # Errors
    ///
    /// Where standard output cannot be written.
    pub fn print(&mut self, text: &str) -> Result<(), Error> {
        self.text += text;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Everything is printed: puts it into the document.
    ///
    /// # Errors
    ///
    /// Where the document cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        self.part.map_or(Ok(()), |part| part.replace(&self.text))
    }
}

/// The part of a document that has a name. The rest is written by people.
struct Part {
    path: PathBuf,
    begin: String,
    end: String,
}

impl Part {
    fn find(path: &Path, name: &str) -> Result<Part, Error> {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
        let part = Part { path: path.to_path_buf(), begin, end };
        part.split()?;
        Ok(part)
    }

    /// Puts `text` in the place of what is there. The file stays the one that it is, with its owner.
    fn replace(&self, text: &str) -> Result<(), Error> {
        let (before, after) = self.split()?;
        fs::write(&self.path, format!("{before}{}\n{}\n\n{}{after}", self.begin, text.trim_end(), self.end))?;
        Ok(())
    }

    /// What comes before the part, and after it.
    fn split(&self) -> Result<(String, String), Error> {
        let told = self.path.display();
        let text = fs::read_to_string(&self.path).map_err(|error| format!("{told}: {error}"))?;
        let missing = || format!("{told}: no lines {} and {}", self.begin.trim_end(), self.end.trim_end());
        let (before, rest) = text.split_once(&self.begin).ok_or_else(missing)?;
        let (_, after) = rest.split_once(&self.end).ok_or_else(missing)?;
        Ok((before.to_owned(), after.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_that_name_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("document.md");
        let head = "# A head\n<!-- one -->\nold\n<!-- end of one -->\n";
        fs::write(&path, format!("{head}between\n<!-- two -->\nold\nold\n<!-- end of two -->\nrest\n"))
            .unwrap();
        let part = Part::find(&path, "two").unwrap();
        for new in ["first", "second\n"] {
            part.replace(new).unwrap();
            let expected =
                format!("{head}between\n<!-- two -->\n\n{}\n\n<!-- end of two -->\nrest\n", new.trim());
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        }
    }

    #[test]
    fn a_document_without_the_part_is_told_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("document.md");
        assert!(Part::find(&path, "one").is_err());
        fs::write(&path, "<!-- one -->\n").unwrap();
        assert!(Part::find(&path, "one").is_err());
    }
}
