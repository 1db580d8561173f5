//! What a module's text declares and imports.

use std::collections::{BTreeMap, BTreeSet};

/// What the text of a module says about others.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The modules that it declares in files of their own.
    pub(super) children: BTreeSet<String>,
    /// What its imports name, and by which path.
    pub(super) named: BTreeMap<String, Vec<String>>,
    /// All paths that may lead into other modules, and their lines.
    paths: Vec<(Vec<String>, usize)>,
}

/// A word or a sign, and its line.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

impl Source {
    /// Reads a module. Modules within it, in braces, count as its own text.
    pub(super) fn parse(text: &str) -> Source {
        let mut reader = Reader { tokens: tokens(text), at: 0, source: Source::default() };
        reader.read();
        reader.source
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = (&[String], usize)> {
        self.paths.iter().map(|(path, line)| (&path[..], *line))
    }
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    source: Source,
}

impl Reader {
    fn peek(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| &token.text)
    }

    fn read(&mut self) {
        // Children may be declared below their first use.
        for pair in self.tokens.windows(3) {
            if pair[0].text == "mod" && pair[2].text == ";" {
                self.source.children.insert(pair[1].text.clone());
            }
        }
        let mut before = String::new();
        while self.at < self.tokens.len() {
            let token = self.tokens[self.at].clone();
            match token.text.as_str() {
                "#" if self.peek(1) == "[" => self.attribute(),
                // `use<>` in a type says what it captures.
                "use" if self.peek(1) != "<" => {
                    self.at += 1;
                    self.tree(&[], token.line);
                }
                // `pub(in crate::a)` says to whom something is shown.
                "in" if before == "(" => {
                    while self.at < self.tokens.len() && self.peek(0) != ")" {
                        self.at += 1;
                    }
                }
                first if before != "::" && self.begins_a_path(first) => self.path(),
                _ => self.at += 1,
            }
            before = token.text;
        }
    }

    fn begins_a_path(&self, first: &str) -> bool {
        self.peek(1) == "::"
            && (["crate", "super", "self"].contains(&first) || self.source.children.contains(first))
    }

    /// A path outside of imports.
    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let mut path = vec![self.peek(0).to_owned()];
        while self.peek(1) == "::" && self.peek(2).starts_with(|c: char| c.is_alphabetic() || c == '_') {
            self.at += 2;
            path.push(self.peek(0).to_owned());
        }
        self.at += 1;
        self.source.paths.push((path, line));
    }

    /// One branch of an import, from `self.at` on: it names what lies below `above`.
    fn tree(&mut self, above: &[String], line: usize) {
        let mut path = above.to_vec();
        loop {
            match self.peek(0) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.peek(0)) {
                        self.tree(&path, line);
                        if self.peek(0) != "}" {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "as" => {
                    let alias = self.peek(1).to_owned();
                    self.at += 2;
                    return self.import(path, alias, line);
                }
                "," | ";" | "}" | "" => {
                    let name = path.last().cloned().unwrap_or_default();
                    return self.import(path, name, line);
                }
                "self" if !path.is_empty() => self.at += 1,
                part => {
                    path.push(part.to_owned());
                    self.at += 1;
                }
            }
        }
    }

    fn import(&mut self, path: Vec<String>, name: String, line: usize) {
        if name == "*" {
            let above = path[..path.len() - 1].to_vec();
            self.source.paths.push((above, line));
            return;
        }
        self.source.paths.push((path.clone(), line));
        self.source.named.insert(name, path);
    }

    /// An attribute, and where it says `cfg(test)`, what it stands before.
    fn attribute(&mut self) {
        let is_for_tests = self.peek(2) == "cfg" && self.peek(4) == "test" && self.peek(5) == ")";
        self.skip_brackets();
        if !is_for_tests {
            return;
        }
        while self.peek(0) == "#" {
            self.skip_brackets();
        }
        if self.peek(0) == "mod" {
            let name = self.peek(1).to_owned();
            if self.peek(2) == ";" {
                self.source.children.remove(&name);
            }
        }
        const ITEMS: [&str; 12] = [
            "async", "const", "enum", "fn", "impl", "mod", "pub", "static", "struct", "trait", "type",
            "unsafe",
        ];
        let is_import = self.peek(0) == "use" || (self.peek(0) == "pub" && self.peek(1) == "use");
        let is_item = ITEMS.contains(&self.peek(0)) && self.peek(2) != ":";
        while self.at < self.tokens.len() {
            match self.peek(0) {
                ";" => {
                    self.at += 1;
                    return;
                }
                "{" if !is_import => {
                    self.skip_brackets();
                    return;
                }
                "," if !is_item && !is_import => return,
                "}" => return,
                "(" | "[" | "{" => self.skip_brackets(),
                _ => self.at += 1,
            }
        }
    }

    /// Goes behind the bracket that closes the next one that opens.
    fn skip_brackets(&mut self) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// The words and signs of a text, without comments, texts and characters.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let begin = at;
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            at += 2;
            while at < chars.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if let Some(signs) = raw_text(&chars[at..]) {
            let end = format!("\"{}", "#".repeat(signs));
            at += signs + 2;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if chars[at] == '\'' {
            // A character ends with another quote; a lifetime does not.
            at += if starts(at, "'\\") {
                (3..).find(|n| chars.get(at + n).is_none_or(|c| *c == '\'')).map_or(2, |n| n + 1)
            } else if chars.get(at + 2) == Some(&'\'') {
                3
            } else {
                1
            };
        } else if is_word(chars[at]) {
            while at < chars.len() && is_word(chars[at]) {
                at += 1;
            }
            tokens.push(Token { text: chars[begin..at].iter().collect(), line });
        } else {
            at += if starts(at, "::") { 2 } else { 1 };
            if !chars[begin].is_whitespace() {
                tokens.push(Token { text: chars[begin..at].iter().collect(), line });
            }
        }
        line += chars[begin..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

/// Whether a raw text begins here, and with how many number signs.
fn raw_text(chars: &[char]) -> Option<usize> {
    let behind = match chars {
        ['r', rest @ ..] => rest,
        _ => return None,
    };
    let signs = behind.iter().take_while(|c| **c == '#').count();
    (behind.get(signs) == Some(&'"')).then_some(signs)
}
