//! Loads a running cjp2p-serve, on loopback, with floods of unvalidated sources and with getters that come and go, and a running
//! cjp2p-http with clients. Prints what it did as Markdown tables.
//!
//! `cargo build --release --workspace && target/release/load flood && target/release/load life && target/release/load gateway`

#![allow(clippy::print_stdout)] // It prints tables.

mod bench;
mod connections;
mod flood;
mod gateway;
mod life;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Loads a running cjp2p-serve or cjp2p-http, on loopback, and prints what it did as a Markdown table.
///
/// Exit status: 0 if every mark is met, 1 if one is missed or something failed, 2 if the command line is wrong.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Sends datagrams of unvalidated sources, real ones, changed ones and made-up ones, and counts what is answered
    Flood(flood::Flood),
    /// Lets getters come and go, some of them killed, and watches memory, descriptors and files of the server
    Life(life::Life),
    /// Has many clients at a gateway: idle, slow, malformed, and a thousand that read at once
    Gateway(gateway::Gateway),
    /// Keeps many connections to one seed of a torrent, and watches its memory and descriptors
    Connections(connections::Connections),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().what {
        What::Flood(flood) => flood.run(),
        What::Life(life) => life.run(),
        What::Gateway(gateway) => gateway.run(),
        What::Connections(connections) => connections.run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
