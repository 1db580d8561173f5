//! The picker: what to ask whom for next, and taking in what comes. And all of it, in two nodes.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::pair::{Forgets, Pair};
use cjp2p_tests::sim::memory::MemoryBlobs;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::{Block, Download, PathTerms, Space, Spec};
use cjp2p_wire::slices::Slices;
use cjp2p_wire::store::{Asker, JobId, Library};
use cjp2p_wire::time::Time;
use cjp2p_wire::tree::Geometry;
use divan::Bencher;
use divan::counter::BytesCount;

/// What is fetched, in bytes.
const LENGTH: usize = 8 << 20;

/// One content, and its tree.
struct Source {
    id: ContentId,
    content: Vec<u8>,
    tree: Vec<u8>,
}

impl Source {
    fn new() -> Source {
        let content = content::bytes(1, LENGTH);
        let mut store = MemoryBlobs::default();
        let id = store.share(content.clone(), None);
        let ContentId::Blake3(root) = &id else {
            unreachable!("content is shared by its BLAKE3 id");
        };
        let mut tree = Vec::new();
        let length = Geometry::new(LENGTH as u64).expect("a length that fits memory").tree_length();
        store.read(Asker::Unvalidated, &ContentId::Tree(*root), 0, length as usize, &mut tree);
        Source { id, content, tree }
    }

    fn fetch(&self, sources: u16, block: u64) -> u64 {
        let spec = Spec {
            id: self.id.clone(),
            ranges: Vec::new(),
            in_order: false,
            resume: None,
            source_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        };
        let now = Time::ZERO;
        let (mut fetch, mut sink) = (Download::new(now, JobId(0), spec, 1), Forgets::default());
        let addresses: Vec<SocketAddr> = (1..=sources).map(|n| ([10, 0, 0, 1], n).into()).collect();
        for address in &addresses {
            fetch.add_source(now, *address, false);
        }
        let round_trip = Duration::from_millis(20);
        let path = PathTerms {
            block,
            tree_block: block,
            least_block: 300,
            probe_block: block,
            blocks: 1,
            round_trip,
            is_short: false,
            rate: 1e8,
        };
        let mut asks = 0;
        while !fetch.is_over() {
            for address in &addresses {
                let Some(ask) = fetch.next_ask(now, *address, path, &sink) else {
                    continue;
                };
                asks += 1;
                let from = match ask.space {
                    Space::Content => &self.content,
                    Space::Tree => &self.tree,
                };
                let end = from.len().min(ask.range.end as usize);
                let data: [&[u8]; 1] = [&from[ask.range.start as usize..end]];
                let block = Block {
                    space: ask.space,
                    offset: ask.range.start,
                    data: Slices::new(&data),
                    length: Some(from.len() as u64),
                    answers: true,
                };
                fetch.on_block(now, *address, block, &mut sink);
            }
        }
        assert_eq!(sink.bytes, LENGTH as u64, "bytes written");
        asks
    }
}

/// A whole fetch from so many sources, which take turns and answer at once, in blocks of an ordinary datagram.
#[divan::bench(args = [1, 8, 64], sample_size = 1, sample_count = 10)]
fn from_sources(bencher: Bencher<'_, '_>, sources: u16) {
    let source = Source::new();
    bencher.counter(BytesCount::new(LENGTH)).bench(|| source.fetch(sources, 960));
}

/// The same in large blocks from one.
#[divan::bench(sample_size = 1, sample_count = 10)]
fn in_large_blocks(bencher: Bencher<'_, '_>) {
    let source = Source::new();
    bencher.counter(BytesCount::new(LENGTH)).bench(|| source.fetch(1, 32 << 10));
}

/// Two nodes, everything but the sockets and files, over routes that carry IP packets of so many bytes.
#[divan::bench(args = [1500, 65_536], sample_size = 1, sample_count = 10)]
fn by_two_nodes(bencher: Bencher<'_, '_>, mtu: usize) {
    bencher
        .counter(BytesCount::new(LENGTH))
        .with_inputs(|| Pair::new(content::bytes(1, LENGTH), mtu, true))
        .bench_local_values(|mut pair| pair.run());
}
