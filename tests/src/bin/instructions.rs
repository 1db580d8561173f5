//! Counts the instructions that the path of a datagram takes, and prints a Markdown table.
//!
//! `cargo run --release -p cjp2p-tests --bin instructions`
//!
//! Runs itself under valgrind's callgrind, so the counts hardly differ from run to run however busy the machine is. No
//! system call is counted, and no AVX-512 or SHA instruction is used, which valgrind does not know: hashing is told by
//! itself, and its count says nothing about its speed.

#![allow(clippy::print_stdout)] // It prints a table.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use cjp2p_tests::lab::Error;
use cjp2p_tests::lab::document::Output;
use cjp2p_tests::pair::Pair;
use cjp2p_tests::row;
use cjp2p_tests::table::{self, digits};
use cjp2p_tests::{content, sim::memory::MemoryBlobs};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::{Encoder, Padding, content_that_fits, decode_into};
use cjp2p_wire::message::Message;
use cjp2p_wire::node::ORDINARY_DATAGRAM;
use cjp2p_wire::store::{Asker, Library};
use cjp2p_wire::tree::{GROUP_LEN, Geometry, TreeVerifier};
use clap::{Parser, ValueEnum};

/// Counts the instructions that the path of a datagram takes, and prints a Markdown table. Needs valgrind.
///
/// Exit status: 0 if all was counted, 1 if not, 2 if the command line is wrong.
#[derive(Parser)]
struct Cli {
    /// How many MiB of content each part moves
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..1024))]
    size: u32,
    /// Put the table into this document too, between its lines `<!-- instructions -->` and `<!-- end of instructions -->`
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Do the work of one part, to be counted
    #[arg(long, hide = true)]
    part: Option<Part>,
    /// Content is raw in that part
    #[arg(long, hide = true)]
    raw: bool,
    /// What the routes of that part carry
    #[arg(long, hide = true, default_value_t = ETHERNET)]
    mtu: usize,
}

/// What is counted.
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    Encode,
    Decode,
    Serve,
    Take,
    Verify,
}

/// The IP packets that routes carry: the ordinary ones, and those of loopback.
const ETHERNET: usize = 1500;
const LOOPBACK: usize = 65_536;

/// Bytes of content in a datagram where a route carries large packets: the most that is asked for.
const LARGE_BLOCK: usize = 32 << 10;

/// Datagrams and bytes of content that a part has moved.
struct Moved {
    datagrams: u64,
    bytes: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.part {
        Some(part) => work(part, &cli).map(|moved| println!("{} {}", moved.datagrams, moved.bytes)),
        None => table(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

const COLUMNS: [&str; 5] =
    ["what", "per datagram, MTU 1500", "per byte", "per datagram, large blocks", "per byte"];

/// Counts everything, and prints the table.
fn table(cli: &Cli) -> Result<(), Error> {
    let mut output = Output::new(cli.into.as_deref(), "instructions")?;
    output.print(&format!("{}\n", table::head(&COLUMNS)))?;
    let mut print = |what: &str, of: [[f64; 2]; 2]| {
        let cells = of.map(|[datagram, byte]| format!("{datagram:.0} | {}", digits(byte)));
        output.print(&format!("{}\n", row![what, cells.join(" | ")]))
    };
    let per = |part, raw| -> Result<[[f64; 2]; 2], Error> {
        Ok([count(part, ETHERNET, cli.size, raw)?, count(part, LOOPBACK, cli.size, raw)?])
    };
    for (raw, how) in [(true, "raw"), (false, "JSON")] {
        let (serve, take) = (per(Part::Serve, raw)?, per(Part::Take, raw)?);
        print(&format!("serve, {how}: a node that answers"), serve)?;
        print(&format!("take, {how}: a node that fetches, hashing included"), take)?;
        let both = [0, 1].map(|n| [0, 1].map(|m| serve[n][m] + take[n][m]));
        print(&format!("the whole path, {how}: both nodes"), both)?;
    }
    print("encode a `Content`", per(Part::Encode, false)?)?;
    print("decode a `Content`, to its bytes", per(Part::Decode, false)?)?;
    let [byte, _] = per(Part::Verify, false)?.map(|[_, byte]| byte);
    let hashing = row!["of that, hashing, a group at a time", "", digits(byte), "", digits(byte)];
    output.print(&format!("{hashing}\n"))?;
    output.finish()
}

/// The instructions of a part per datagram, and per byte of content.
fn count(part: Part, mtu: usize, size: u32, raw: bool) -> Result<[f64; 2], Error> {
    let counted = match part {
        Part::Encode => "*encode_one*",
        Part::Decode => "*decode_one*",
        Part::Serve => "*serve_all*",
        Part::Take => "*take_all*",
        Part::Verify => "*verify_group*",
    };
    let name = part.to_possible_value().ok_or("a part without a name")?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--toggle-collect={counted}")).arg(std::env::current_exe()?);
    valgrind.args(["--part", name.get_name(), "--mtu", &mtu.to_string(), "--size", &size.to_string()]);
    if raw {
        valgrind.arg("--raw");
    }
    let run = valgrind.output().map_err(|error| format!("valgrind, which this needs: {error}"))?;
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        return Err(format!("valgrind: {}", said.lines().last().unwrap_or_default()).into());
    }
    let collected = said.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok());
    let collected: f64 = collected.filter(|n| *n > 0.0).ok_or("valgrind counted nothing")?;
    let printed = String::from_utf8(run.stdout)?;
    let moved: Vec<f64> = printed.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [datagrams, bytes] = moved[..] else {
        return Err("a part that does not say what it moved".into());
    };
    Ok([collected / datagrams, collected / bytes])
}

/// Does the work of one part. Only the functions that valgrind is told to look at are counted.
fn work(part: Part, cli: &Cli) -> Result<Moved, Error> {
    let bytes = content::bytes(1, (cli.size as usize) << 20);
    let id = content::blake3_id(&bytes);
    let (name, length) = (id.to_string(), bytes.len() as u64);
    match part {
        Part::Serve | Part::Take => {
            Ok(Moved { datagrams: Pair::new(bytes, cli.mtu, cli.raw).run(), bytes: length })
        }
        Part::Verify => verify(bytes),
        Part::Encode | Part::Decode => {
            let fits = content_that_fits(ORDINARY_DATAGRAM, &name, length, 0);
            let block = if cli.mtu == ETHERNET { fits } else { LARGE_BLOCK };
            let mut datagrams = 0;
            let mut room = Vec::new();
            for (n, data) in bytes.chunks(block).enumerate() {
                let datagram = encode_one(&name, (n * block) as u64, data, length);
                if decode_one(&datagram, &mut room) != Some(data.len()) {
                    return Err("not what was encoded".into());
                }
                datagrams += 1;
            }
            Ok(Moved { datagrams, bytes: length })
        }
    }
}

#[inline(never)]
fn encode_one(id: &str, offset: u64, data: &[u8], length: u64) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(2 * data.len());
    encoder.content(black_box(id), offset, data, Some(length), Padding::Padded);
    encoder.finish(0)
}

#[inline(never)]
fn decode_one(datagram: &[u8], room: &mut Vec<u8>) -> Option<usize> {
    let messages = decode_into(black_box(datagram), room).ok()?;
    let [Message::Content(block)] = &messages[..] else {
        return None;
    };
    Some(black_box(&block.data).len())
}

fn verify(bytes: Vec<u8>) -> Result<Moved, Error> {
    let mut shared = MemoryBlobs::default();
    let ContentId::Blake3(root) = shared.share(bytes.clone(), None) else {
        return Err("an id of another kind".into());
    };
    let geometry = Geometry::new(bytes.len() as u64)?;
    let mut tree = TreeVerifier::new(root, geometry);
    for level in geometry.run_levels().rev() {
        for run in geometry.runs(level) {
            let (range, mut out) = (geometry.run_bytes(run), Vec::new());
            shared.read(
                Asker::Unvalidated,
                &ContentId::Tree(root),
                range.start,
                (range.end - range.start) as usize,
                &mut out,
            );
            tree.insert_run(run, &out)?;
        }
    }
    let mut datagrams = 0;
    for (group, part) in bytes.chunks(GROUP_LEN as usize).enumerate() {
        if !verify_group(&tree, group as u64 * GROUP_LEN, part) {
            return Err("not verified".into());
        }
        datagrams += 1;
    }
    Ok(Moved { datagrams, bytes: bytes.len() as u64 })
}

#[inline(never)]
fn verify_group(tree: &TreeVerifier, offset: u64, bytes: &[u8]) -> bool {
    tree.verify(offset, black_box(bytes)).is_ok()
}
