//! Where somebody else's filter of system calls denies Landlock, the kernel is not blamed.

use cjp2p_tests::real::strace::{insist, strace, unavailable, under, worked};
use cjp2p_tests::real::tool;

#[test]
fn a_filter_that_denies_landlock_is_told_from_a_kernel_without_it() {
    if let Some(why) = unavailable() {
        eprintln!("skipped, since nothing can be denied here: {why}");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    for (errno, told) in
        [("EPERM", "Landlock was refused to this process"), ("ENOSYS", "kernel has no Landlock")]
    {
        let stderr = insist(|| {
            let mut get = tool("cjp2p-get", &state.path().join("state"));
            get.args(["--peer", "127.0.0.1:9", "--timeout", "100ms", &"0".repeat(64)]);
            let mut command = strace(&state.path().join("trace"));
            command.args(["-e", "trace=landlock_create_ruleset"]);
            command.args(["-e", &format!("inject=landlock_create_ruleset:error={errno}")]);
            let output = under(&mut command, &get).output()?;
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            worked(&stderr)?;
            Ok(stderr)
        });
        let stderr = stderr.unwrap();
        assert!(stderr.contains(told), "{errno}: {stderr}");
    }
}
