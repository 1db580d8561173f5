//! The documents are true where that can be checked: what they name exists, what they show can be read, and what they
//! promise about the code's shape holds.

mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cjp2p_cli::Exit;
use cjp2p_tests::fuzz::TARGETS;
use cjp2p_wire::datagram;
use cjp2p_wire::message::Message;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths, from the root, of all files with this ending, without what builds leave behind.
fn files(ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the workspace can be read") {
            let path = entry.expect("the workspace can be read").path();
            let below = path.strip_prefix(root()).ok().and_then(Path::to_str).expect("its names are UTF-8");
            let hidden = below.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            if path.is_dir() {
                if !hidden && !path.join("CACHEDIR.TAG").exists() {
                    folders.push(path);
                }
            } else if below.ends_with(ending) {
                found.push(below.to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The lines of a Markdown text, each with whether it is within a fenced block, and that block's language.
fn lines(text: &str) -> Vec<(&str, Option<&str>)> {
    let mut fence = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), fence) {
            (Some(language), None) => fence = Some(language.trim()),
            (Some(_), Some(_)) => fence = None,
            (None, _) => lines.push((line, fence)),
        }
    }
    assert_eq!(fence, None, "a fenced block has no end");
    lines
}

#[test]
fn whoever_starts_a_tool_without_the_public_nodes_leaves_the_local_network_alone_too() {
    let none = "BOOTSTRAP";
    let starts = [format!(r#".env("CJP2P_{none}", "")"#), format!("export CJP2P_{none}=\n")];
    let mut found = 0;
    for path in [files(".rs"), files(".sh"), vec![".ci/run".to_owned()]].concat() {
        let text = read(&path);
        let count = |what: &str| text.matches(what).count();
        let switched_off = starts.iter().map(|start| count(start)).sum();
        found += switched_off;
        let alone = count(r#".env("CJP2P_NO_LAN", "1")"#) + count("export CJP2P_NO_LAN=1\n");
        assert!(alone >= switched_off, "{path}: CJP2P_NO_LAN is not set");
    }
    assert!(found >= 7, "only {found} places were found: the test looks for the wrong thing");
}

/// What stands between backticks outside of fenced blocks, each with the last heading before it.
fn code_spans(text: &str) -> Vec<(String, String)> {
    let mut heading = String::new();
    let mut spans = Vec::new();
    for (line, fence) in lines(text) {
        if fence.is_some() {
            continue;
        }
        if line.starts_with('#') {
            heading = line.to_owned();
        }
        spans.extend(line.split('`').skip(1).step_by(2).map(|span| (span.to_owned(), heading.clone())));
    }
    spans
}

/// The top-level folders in which there is code. What begins with one of them and a slash is a path.
const ROOMS: [&str; 8] = [
    "cjp2p-wire",
    "cjp2p-hash",
    "cjp2p-serve",
    "cjp2p-get",
    "cjp2p-http",
    "cjp2p-peers",
    "tests",
    "examples",
];

/// The paths from the root that a document names in code spans.
fn paths_named_in(document: &str) -> BTreeSet<String> {
    let is_path = |span: &str| {
        let plain = span.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
        let first = span.split('/').next().unwrap_or("");
        plain && ROOMS.contains(&first) && (span.contains('/') || root().join(span).is_dir())
    };
    let spans = code_spans(&read(document)).into_iter().map(|(span, _)| span);
    spans.filter(|span| is_path(span)).map(|span| span.trim_end_matches('/').to_owned()).collect()
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut named = 0;
    for document in files(".md") {
        for path in paths_named_in(&document) {
            named += 1;
            // What programs make, and nobody commits.
            let is_made = ["tests/fuzz/failures"].contains(&&*path);
            assert!(is_made || root().join(&path).exists(), "{document}: `{path}` is not there");
        }
    }
    assert!(named > 80, "only {named} paths were found");
}

#[test]
fn every_path_that_a_script_names_exists() {
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let mut named = 0;
    for script in [".ci/run", "tests/fuzz/run", "tests/mutants/run"] {
        for path in read(script).split(|c| !is_of_path(c)).map(|path| path.trim_end_matches('.')) {
            let first = path.split('/').next().unwrap_or("");
            if ROOMS.contains(&first) && path.contains('/') {
                named += 1;
                // What programs make, and nobody commits.
                let is_made = path == "tests/fuzz/failures";
                assert!(is_made || root().join(path).exists(), "{script}: {path} is not there");
            }
        }
    }
    assert!(named > 30, "only {named} paths were found");
}

/// The source of a test program of a package, with all modules below it.
fn test_program(package: &str, name: &str) -> Vec<String> {
    let folder = format!("{}/tests", if package == "cjp2p-tests" { "tests" } else { package });
    let (file, modules) = (format!("{folder}/{name}.rs"), format!("{folder}/{name}/"));
    files(".rs").into_iter().filter(|path| *path == file || path.starts_with(&modules)).collect()
}

#[test]
fn every_program_and_test_that_a_documented_command_names_exists() {
    let programs: BTreeSet<String> = files(".rs")
        .iter()
        .filter_map(|path| path.strip_suffix("/src/main.rs").or(path.strip_prefix("tests/src/bin/")))
        .filter_map(|path| path.strip_suffix("/main.rs").or(path.strip_suffix(".rs")).or(Some(path)))
        .map(str::to_owned)
        .collect();
    let is_name =
        |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b"_-".contains(&b));
    let (mut started, mut tested) = (0, 0);
    for document in [files(".md"), files(".rs")].concat() {
        // A code span may go on in the next line, of a comment too.
        let text = read(&document).replace("\n//! ", " ").replace("\n/// ", " ");
        for span in text.split(['`', '"', '#']).filter(|span| !span.contains("{")) {
            let words: Vec<&str> = span.split_whitespace().collect();
            let after = |option: &str| words.iter().skip_while(|word| **word != option).nth(1).copied();
            let named = words.iter().filter_map(|word| word.strip_prefix("target/release/"));
            for program in named.chain(after("--bin")).filter(is_name) {
                started += 1;
                assert!(programs.contains(program), "{document}: there is no program {program}");
            }
            let (Some(package), Some(test)) = (after("-p"), after("--test")) else { continue };
            tested += 1;
            let sources = test_program(package, test);
            assert!(!sources.is_empty(), "{document}: {package} has no test program {test}");
            let filter = after(test).filter(is_name).filter(|word| !word.starts_with('-'));
            if let Some(filter) = filter {
                let is_there = |path: &String| {
                    path.contains(filter)
                        || read(path).lines().any(|line| {
                            line.trim_start().strip_prefix("fn ").is_some_and(|rest| rest.contains(filter))
                        })
                };
                assert!(sources.iter().any(is_there), "{document}: {test} has no test {filter}");
            }
        }
    }
    assert!(started > 20 && tested > 6, "only {started} and {tested} were found");
}

#[test]
fn every_fuzz_target_has_its_rows_in_what_was_measured() {
    let text = read("docs/reliability.md");
    let section = text.split("\n## Fuzzing\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = section.expect("a section").lines().filter_map(|line| line.strip_prefix("| `"));
    let mut named: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    named.sort_unstable();
    let mut targets: Vec<&str> = TARGETS.iter().flat_map(|target| [target.name; 2]).collect();
    targets.sort_unstable();
    assert_eq!(named, targets, "one row says what must hold, another what was run");
}

/// Whether a file holds only tests of the module beside it.
fn is_tests_of_a_module(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/")
}

#[test]
fn every_crate_and_every_folder_of_modules_is_on_the_map() {
    let named = paths_named_in("docs/architecture.md");
    let parent = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    let crates: BTreeSet<String> =
        files("Cargo.toml").iter().map(|path| parent(path)).filter(|folder| !folder.is_empty()).collect();
    let sources = files(".rs");
    let folders = sources.iter().filter(|path| !is_tests_of_a_module(path)).map(|path| parent(path));
    // Each tool's tests of its command line are on the map as one.
    let is_of_one_tool =
        |folder: &str| folder.starts_with("cjp2p-") && format!("{folder}/").contains("/tests/");
    let folders: BTreeSet<String> = folders.filter(|folder| !is_of_one_tool(folder)).collect();
    assert!(
        crates.len() >= 9 && folders.len() > 30,
        "only {} and {} were found",
        crates.len(),
        folders.len()
    );
    let missing: Vec<_> = crates.union(&folders).filter(|folder| !named.contains(*folder)).collect();
    assert!(missing.is_empty(), "docs/architecture.md leaves out {missing:?}");
}

#[test]
fn every_file_says_in_its_first_line_what_is_in_it() {
    let silent: Vec<_> = files(".rs").into_iter().filter(|path| !read(path).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "without a header comment: {silent:?}");
}

/// The pages in `docs/decisions`, without the index.
fn decisions() -> Vec<String> {
    let pages = files(".md").into_iter().filter(|path| path.starts_with("docs/decisions/"));
    pages.filter(|path| !path.ends_with("/README.md")).collect()
}

#[test]
fn every_type_and_constant_that_the_map_names_is_in_the_source() {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let sources: Vec<String> = files(".rs").iter().map(|path| read(path)).collect();
    let words: BTreeSet<&str> = sources.iter().flat_map(|text| text.split(|c| !is_word(c))).collect();
    let mut named = 0;
    for document in
        [decisions(), vec!["docs/architecture.md".to_owned(), "CONTRIBUTING.md".to_owned()]].concat()
    {
        for (span, _) in code_spans(&read(&document)) {
            if span.starts_with(|c: char| c.is_ascii_uppercase())
                && span.split("::").all(|part| part.chars().all(is_word))
                && !span.starts_with("CARGO_")
            {
                named += 1;
                for part in span.split("::") {
                    assert!(words.contains(part), "{document}: `{span}` is nowhere in the source");
                }
            }
        }
    }
    assert!(named > 60, "only {named} names were found");
}

#[test]
fn every_decision_is_one_page_with_its_context_and_consequences_and_in_the_index() {
    let index = read("docs/decisions/README.md");
    let pages = decisions();
    assert!(pages.len() > 20, "only {} pages were found", pages.len());
    for (n, page) in pages.iter().enumerate() {
        let name = page.strip_prefix("docs/decisions/").unwrap();
        assert!(name.starts_with(&format!("{:02}-", n + 1)), "{page} is not number {}", n + 1);
        let text = read(page);
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(headings[1..], ["## Context", "## Decision", "## Consequences"], "{page}");
        let title = headings[0].strip_prefix("# ").unwrap();
        assert!(index.contains(&format!("[{title}]({name})")), "docs/decisions/README.md leaves out {title}");
        assert!(text.lines().count() <= 60, "{page} is longer than a page");
    }
}

#[test]
fn the_map_can_be_read_at_one_sitting() {
    let length = read("docs/architecture.md").lines().count();
    assert!(length <= 250, "docs/architecture.md has {length} lines");
}

/// The anchor that a heading gets on the usual hosts.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut links = 0;
    for document in files(".md") {
        let text = read(&document);
        let linked = lines(&text).into_iter().filter(|(_, fence)| fence.is_none());
        for target in linked.flat_map(|(line, _)| line.split("](").skip(1)) {
            let target = target.split(')').next().unwrap_or("");
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let folder = root().join(&document).parent().unwrap().to_owned();
            let file = if path.is_empty() { root().join(&document) } else { folder.join(path) };
            assert!(file.exists(), "{document}: the link {target:?} leads nowhere");
            if !fragment.is_empty() {
                let there = fs::read_to_string(&file).unwrap();
                let headings = lines(&there)
                    .into_iter()
                    .filter(|(line, fence)| fence.is_none() && line.starts_with('#'));
                let found = headings.map(|(line, _)| anchor(line)).any(|anchor| anchor == fragment);
                assert!(found, "{document}: {target:?} names no heading");
            }
        }
    }
    assert!(links > 10, "only {links} links were found");
}

#[test]
fn no_document_names_a_place_that_only_one_machine_has() {
    // Where a path on any machine may begin.
    let common = ["dev", "etc", "mnt", "proc", "srv", "sys", "tmp", "usr", "var"];
    // And one of a URL of the gateway.
    let of_urls = ["blake3", "events", "folder", "latest", "magnet", "metrics", "sha256", "status", "stream"];
    for document in files(".md") {
        for (n, line) in read(&document).lines().enumerate() {
            for (at, _) in line.match_indices('/') {
                let before = line[..at].chars().next_back();
                let begins = before.is_none_or(|c| c.is_whitespace() || "\"'`(=<".contains(c));
                let name: String = line[at + 1..]
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
                    .collect();
                let is_path = begins && name.starts_with(|c: char| c.is_ascii_lowercase());
                assert!(
                    !is_path || common.contains(&&*name) || of_urls.contains(&&*name),
                    "{document}:{}: /{name}",
                    n + 1
                );
            }
        }
    }
}

#[test]
fn every_datagram_shown_can_be_read_in_full() {
    let text = read("docs/protocol.md");
    let shown: Vec<_> = lines(&text).into_iter().filter(|(_, fence)| *fence == Some("json")).collect();
    assert!(shown.len() > 15, "only {} datagrams were found", shown.len());
    for (line, _) in shown {
        let elements: Vec<serde_json::Value> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let messages = datagram::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(messages.len(), elements.len(), "{line}");
    }
    let raw: Vec<_> = lines(&text).into_iter().filter(|(_, fence)| *fence == Some("raw")).collect();
    assert!(raw.len() > 1, "only {} datagrams with bytes after the array were found", raw.len());
    for (line, _) in raw {
        let messages = datagram::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(matches!(messages[..], [Message::BytesFollow(_)]), "{line}");
    }
}

#[test]
fn every_message_that_is_understood_is_in_the_protocol() {
    let source = read("cjp2p-wire/src/message/read.rs");
    let arms = source.lines().filter(|line| line.contains("=>") || line.contains(" if "));
    let kinds: Vec<&str> = arms
        .filter_map(|line| line.trim().strip_prefix('"')?.split('"').next())
        .filter(|kind| kind.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    assert!(kinds.len() > 12, "only {kinds:?} were found");
    let text = read("docs/protocol.md");
    let shown: String =
        lines(&text).into_iter().filter(|(_, fence)| *fence == Some("json")).map(|(line, _)| line).collect();
    let missing: Vec<_> = kinds.iter().filter(|kind| !shown.contains(&format!("\"{kind}\""))).collect();
    assert!(missing.is_empty(), "docs/protocol.md shows no example of {missing:?}");
}

#[test]
fn every_exit_code_is_documented() {
    let codes: Vec<String> = Exit::ALL.iter().map(|exit| (*exit as u8).to_string()).collect();
    let text = read("docs/exit-codes.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let documented: Vec<&str> = rows
        .filter_map(|row| row.split(' ').next())
        .filter(|cell| cell.bytes().all(|b| b.is_ascii_digit()))
        .collect();
    assert_eq!(documented, codes);
}

#[test]
fn every_tool_has_a_manual_that_the_readme_links() {
    let readme = read("README.md");
    let mains = files("main.rs");
    let folders = mains.iter().filter_map(|path| path.strip_suffix("/src/main.rs"));
    let tools: Vec<&str> = folders.filter(|folder| !folder.contains('/')).collect();
    assert!(tools.len() >= 4, "{tools:?}");
    for tool in tools {
        assert!(
            readme.contains(&format!("(docs/{tool}.md)")),
            "README.md does not link the manual of {tool}"
        );
        assert!(root().join(format!("docs/{tool}.md")).exists(), "{tool} has no manual");
    }
}

#[test]
fn ci_runs_what_the_readme_tells_people_to_run() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    for command in ["cargo test --workspace", "examples/share-and-fetch.sh"] {
        assert!(readme.contains(command), "README.md does not tell to run {command}");
        assert!(ci.contains(command), ".ci/run does not run {command}");
    }
}

/// Which tests a security promise names: `test_name`, within code spans that are one long word.
fn tests_named_in(path: &str) -> BTreeSet<String> {
    let is_test = |span: &str| {
        span.matches('_').count() >= 3
            && span.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    };
    code_spans(&read(path)).into_iter().map(|(span, _)| span).filter(|span| is_test(span)).collect()
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let mut tests = BTreeSet::new();
    for path in files(".rs") {
        let text = read(&path);
        let mut is_next = false;
        for line in text.lines().map(str::trim) {
            // Also those that a macro of `tests/tests/conformance/fuzz_corpus.rs` makes.
            let listed = line.split_once(": \"").filter(|_| path.ends_with("/fuzz_corpus.rs"));
            let named = line.strip_prefix("fn ").and_then(|rest| rest.split_once('('));
            match (named, listed) {
                (Some((name, _)), _) if is_next => drop(tests.insert(name.to_owned())),
                (_, Some((name, _))) => drop(tests.insert(name.to_owned())),
                _ => {}
            }
            is_next = line.starts_with("#[test]")
                || (is_next && (line.starts_with("#[") || line.starts_with("//")));
        }
    }
    assert!(tests.len() > 300, "only {} tests were found", tests.len());
    for (document, least) in [("SECURITY.md", 50), ("docs/reliability.md", 20)] {
        let named = tests_named_in(document);
        assert!(named.len() >= least, "{document} names only {}", named.len());
        let missing: Vec<_> = named.iter().filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{document} names tests that do not exist: {missing:?}");
    }
}
