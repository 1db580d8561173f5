//! The fuzz bodies over the corpus kept in the repository, and over changed copies of it from a fixed seed.

use std::fs;
use std::path::{Path, PathBuf};

use cjp2p_tests::fuzz::{TARGETS, Target, mutate};

/// Changed inputs for each target; `CJP2P_FUZZ_MUTATIONS` looks harder.
const MUTATIONS: u32 = 2_000;

fn corpus_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The inputs of a target, in the order of their names.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus_folder().join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("it can be read"))).collect()
}

/// Says which input it was, where a body panics.
struct Trying<'a>(&'a Target, &'a Path, &'a [u8]);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{} fails, from {}: {:?}",
                self.0.name,
                self.1.display(),
                String::from_utf8_lossy(self.2)
            );
        }
    }
}

fn run(target: &Target) {
    let inputs = corpus(target);
    for (path, bytes) in &inputs {
        let _trying = Trying(target, path, bytes);
        (target.body)(bytes);
    }
    let mutations = std::env::var("CJP2P_FUZZ_MUTATIONS").ok().and_then(|text| text.parse().ok());
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..mutations.unwrap_or(MUTATIONS) {
        let (path, bytes) = &inputs[random.usize(0..inputs.len())];
        let (_, other) = &inputs[random.usize(0..inputs.len())];
        let changed = mutate::mutated(bytes, other, &mut random);
        let _trying = Trying(target, path, &changed);
        (target.body)(&changed);
    }
}

fn run_named(name: &str) {
    run(TARGETS.iter().find(|target| target.name == name).expect("a target of this name"));
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { run_named($name); })*

        #[test]
        fn every_target_is_run_and_has_a_corpus_and_every_corpus_a_target() {
            let run = [$($name),*];
            let named: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(named, run);
            let entries = fs::read_dir(corpus_folder()).unwrap();
            let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            folders.sort();
            assert_eq!(folders, run);
        }
    };
}

targets! {
    no_id_is_a_path_and_all_read_back: "content-id",
    no_conversation_breaks_a_node_or_its_promises: "conversation",
    every_datagram_is_read_within_limits_and_reads_back: "datagram",
    content_in_the_fast_path_says_what_serde_json_reads: "fast-path",
    whatever_lists_say_a_folder_comes_of_it_or_nothing: "folder",
    no_forger_has_a_bystander_sent_more_than_an_echo_is_worth: "forgery",
    trees_of_any_length_lie_where_the_format_says: "geometry",
    no_damaged_line_of_the_hash_store_is_believed: "hash-store",
    requests_are_read_and_answered_the_same_however_they_are_cut: "http",
    no_line_of_a_list_is_lost_or_misread: "list",
    no_magnet_is_without_bounds_or_reads_back_as_another: "magnet",
    no_metainfo_leads_out_of_its_folder_and_all_reads_back: "metainfo",
    a_damaged_peer_table_keeps_to_its_limits: "peer-table",
    ranges_select_what_a_list_of_bytes_does: "ranges",
    raw_content_is_read_as_a_json_parser_reads_it_and_only_what_is_right_is_written: "raw",
    no_record_makes_wrong_bytes_count_as_done: "resume",
    no_peers_break_a_swarm_or_keep_an_honest_seed_from_completing_it: "torrent-peer",
    no_answer_of_a_tracker_is_without_bounds_or_taken_for_another: "tracker",
    nothing_wrong_is_verified_and_nothing_right_refused: "tree",
    no_damaged_tree_is_believed: "tree-store",
}
