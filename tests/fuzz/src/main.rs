//! One target of `cjp2p_tests::fuzz` under libFuzzer: the one that `CJP2P_FUZZ_TARGET` names.

#![no_main]

use std::sync::OnceLock;

use cjp2p_tests::fuzz;

static BODY: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let name = std::env::var("CJP2P_FUZZ_TARGET").unwrap_or_default();
    let target = fuzz::TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("CJP2P_FUZZ_TARGET={name:?} is none of the targets")).body
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| BODY.get_or_init(chosen)(data));
