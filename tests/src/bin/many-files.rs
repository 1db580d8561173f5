//! Measures what memory a cjp2p-serve takes that shares very many files, and prints it as a Markdown table.
//!
//! `cargo build --release --workspace && target/release/many-files`
//!
//! The files are in the folder for temporary files: with `TMPDIR=/dev/shm` no disk has to make them.

#![allow(clippy::print_stdout)] // It prints a table.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use cjp2p_tests::lab::{Error, Programs, scratch};
use cjp2p_tests::real::server::{Server, resident_memory};
use cjp2p_tests::{row, table};
use clap::Parser;

/// The mark: so much, and so much for each file.
const BASE: u64 = 48 << 20;
const PER_FILE: u64 = 100;
/// From the time when everything is shared, and its list published.
const REST: Duration = Duration::from_secs(1);

/// Measures what memory a cjp2p-serve takes that shares very many small files: after it hashed them all, and after another start,
/// for which it remembers them. The mark is 48 MiB and 100 bytes a file, made for 200,000 files.
///
/// Exit status: 0 if the mark is met, 1 if it is missed or something failed, 2 if the command line is wrong.
#[derive(Parser)]
struct Cli {
    /// How many files to share
    #[arg(long, default_value_t = 200_000)]
    files: u64,
    /// In how many folders
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    folders: u64,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("many-files: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool, Error> {
    let programs = Programs::beside_this()?;
    let folder = scratch::folder(&std::env::temp_dir(), "cjp2p-many-files-")?;
    let share = folder.path().join("share");
    for n in 0..cli.folders {
        std::fs::create_dir_all(share.join(format!("folder-{n:03}")))?;
    }
    for n in 0..cli.files {
        let name = format!("folder-{:03}/a-file-of-usual-length-{n:06}", n % cli.folders);
        std::fs::write(share.join(name), format!("content {n}\n"))?;
    }
    let most = BASE + PER_FILE * cli.files;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{}",
        table::head(&[
            &*format!("{} files", cli.files),
            "promised, MiB",
            "resident, MiB",
            "at its peak, MiB"
        ])
    );
    let mut is_met = true;
    for what in ["after all were hashed", "after another start"] {
        let state = folder.path().join("state");
        let mut server = Server::run(command(&programs, &state), "127.0.0.1:0", &share, &[]);
        server.wait_for("published");
        std::thread::sleep(REST);
        let (now, peak) = (resident_memory(server.pid()), server.peak_memory());
        println!(
            "{}",
            row![
                what,
                format!("≤ {:.1}", mib(most)),
                format!("{:.1}", mib(now)),
                format!("{:.1}", mib(peak))
            ]
        );
        // The server could not be asked where it is zero.
        is_met &= (1..=most).contains(&now) && (1..=most).contains(&peak);
    }
    Ok(is_met)
}

fn command(programs: &Programs, state: &Path) -> Command {
    let mut command = Command::new(programs.path("cjp2p-serve"));
    command
        .env("CJP2P_BOOTSTRAP", "")
        .env("CJP2P_NO_LAN", "1")
        .env("CJP2P_STATE_DIR", state)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}
