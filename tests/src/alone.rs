//! Tests that look at their whole process, run in one of their own.

use std::env;
use std::process::{Command, Stdio};

/// Says that this process runs one test and no other.
const ALONE: &str = "CJP2P_TEST_ALONE";

/// Runs the body of the test with this full name, `module::name`, in a process where no other test runs.
///
/// # Panics
///
/// Where the body does.
pub fn alone(test: &str, body: fn()) {
    if env::var_os(ALONE).is_some_and(|alone| alone == test) {
        return body();
    }
    let this = env::current_exe().expect("it has a path");
    let output = Command::new(this)
        .args([test, "--exact", "--include-ignored", "--nocapture"])
        .env(ALONE, test)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
