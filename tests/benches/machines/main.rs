//! How fast the parts are that every byte goes through: `cargo bench -p cjp2p-tests`. A part of a name as an argument
//! chooses: `cargo bench -p cjp2p-tests -- codec`.

mod base64;
mod codec;
mod fetch;
mod tree;

fn main() {
    divan::main();
}
