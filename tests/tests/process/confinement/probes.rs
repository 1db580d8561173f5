//! What an intruder could call in a confined process: system calls made from within the real programs, by ptrace.
//!
//! Each is also made in a server without confinement, where it must come to something else: a call that fails anyway shows nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::{Running, folders, serve, start};

/// One system call with its arguments.
struct Probe {
    name: &'static str,
    number: i64,
    arguments: [u64; 6],
    /// Whether any user may do that who is not confined, on any kernel.
    is_open_to_all: bool,
}

fn probe<const N: usize>(name: &'static str, number: i64, arguments: [u64; N]) -> Probe {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    Probe { name, number, arguments: all, is_open_to_all: true }
}

/// One that needs a right, or a kernel, that not everybody has.
fn rare<const N: usize>(name: &'static str, number: i64, arguments: [u64; N]) -> Probe {
    Probe { is_open_to_all: false, ..probe(name, number, arguments) }
}

const EXECUTABLE: u64 = (libc::PROT_READ | libc::PROT_EXEC) as u64;
const SHARED: u64 = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
const PRIVATE: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
const UNIX: u64 = libc::AF_UNIX as u64;
const DATAGRAM: u64 = libc::SOCK_DGRAM as u64;
const HERE: u64 = libc::AT_FDCWD as i64 as u64;
/// Of memory that nobody shares: what is made would stay.
const NO_KEY: u64 = 0x7ead_beef;
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;
const TIOCLINUX: u64 = 0x541c;
const SIOCSPGRP: u64 = 0x8902;
const FIOSETOWN: u64 = 0x8901;
const USER_MODE_ONLY: u64 = 1;
/// Set in the numbers of calls with 32-bit pointers, some of which have numbers of their own there.
const X32: i64 = 0x4000_0000;

/// All that is tried. `other`: another process of this user; `memory`: where this process may write, full of zeros.
fn probes(other: u64, memory: u64) -> Vec<Probe> {
    vec![
        probe("execve", libc::SYS_execve, [memory, 0, 0]),
        probe("execveat", libc::SYS_execveat, [HERE, memory, 0, 0, 0]),
        rare("fork", libc::SYS_clone, [libc::SIGCHLD as u64]),
        rare("vfork", libc::SYS_vfork, [] as [u64; 0]),
        probe("mmap-executable", libc::SYS_mmap, [0, 4096, EXECUTABLE, PRIVATE, u64::MAX, 0]),
        probe("mmap-shared-executable", libc::SYS_mmap, [0, 4096, EXECUTABLE | 2, SHARED, u64::MAX, 0]),
        probe("mprotect-executable", libc::SYS_mprotect, [memory & !4095, 4096, EXECUTABLE | 2]),
        probe("memfd_create", libc::SYS_memfd_create, [memory, 0]),
        probe("personality", libc::SYS_personality, [0xffff_ffff]),
        probe("shmget", libc::SYS_shmget, [NO_KEY, 4096, 0]),
        probe("shmat-executable", libc::SYS_shmat, [u64::MAX, 0, 0o100_000]),
        probe("semget", libc::SYS_semget, [NO_KEY, 1, 0]),
        probe("msgget", libc::SYS_msgget, [NO_KEY, 0]),
        probe("mq_open", libc::SYS_mq_open, [memory, libc::O_RDONLY as u64, 0, 0]),
        probe("TIOCSTI", libc::SYS_ioctl, [2, libc::TIOCSTI, memory]),
        probe("TIOCLINUX", libc::SYS_ioctl, [2, TIOCLINUX, memory]),
        probe("TIOCSCTTY", libc::SYS_ioctl, [2, libc::TIOCSCTTY, 0]),
        probe("TIOCSETD", libc::SYS_ioctl, [2, libc::TIOCSETD, memory]),
        probe("TCSETS", libc::SYS_ioctl, [2, libc::TCSETS, memory]),
        probe("TIOCSTI-with-high-bits", libc::SYS_ioctl, [2, libc::TIOCSTI | 1 << 32, memory]),
        probe("kill", libc::SYS_kill, [other, 0]),
        probe("tkill", libc::SYS_tkill, [other, 0]),
        probe("tgkill", libc::SYS_tgkill, [other, other, 0]),
        rare("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, [other, 0, memory]),
        probe("pidfd_send_signal", libc::SYS_pidfd_send_signal, [u64::MAX, 0, 0, 0]),
        probe("F_SETOWN", libc::SYS_fcntl, [2, libc::F_SETOWN as u64, other]),
        probe("F_SETOWN_EX", libc::SYS_fcntl, [2, F_SETOWN_EX, memory]),
        probe("F_SETSIG", libc::SYS_fcntl, [2, F_SETSIG, 0]),
        probe("FIOSETOWN", libc::SYS_ioctl, [2, FIOSETOWN, memory]),
        probe("SIOCSPGRP", libc::SYS_ioctl, [2, SIOCSPGRP, memory]),
        probe("F_SETLEASE", libc::SYS_fcntl, [2, libc::F_SETLEASE as u64, libc::F_UNLCK as u64]),
        probe("ptrace", libc::SYS_ptrace, [u64::MAX, other, 0, 0]),
        probe("process_vm_readv", libc::SYS_process_vm_readv, [other, 0, 0, 0, 0, 0]),
        probe("process_vm_writev", libc::SYS_process_vm_writev, [other, 0, 0, 0, 0, 0]),
        probe("pidfd_open", libc::SYS_pidfd_open, [other, 0]),
        probe("pidfd_getfd", libc::SYS_pidfd_getfd, [u64::MAX, 0, 0]),
        probe("process_madvise", libc::SYS_process_madvise, [u64::MAX, 0, 0, 0, 0]),
        rare("kcmp", libc::SYS_kcmp, [other, other, 0, 0, 0]),
        probe("prlimit64", libc::SYS_prlimit64, [other, libc::RLIMIT_CPU.into(), 0, memory]),
        probe("setpriority", libc::SYS_setpriority, [u64::MAX, 0, 0]),
        probe("sched_setaffinity", libc::SYS_sched_setaffinity, [other, 0, memory]),
        rare("move_pages", libc::SYS_move_pages, [other, 0, 0, 0, 0, 0]),
        rare("io_uring_setup", libc::SYS_io_uring_setup, [0, memory]),
        probe("io_uring_enter", libc::SYS_io_uring_enter, [u64::MAX, 0, 0, 0, 0, 0]),
        probe("keyctl", libc::SYS_keyctl, [u64::MAX, 0]),
        probe("add_key", libc::SYS_add_key, [memory, memory, 0, 0, 0]),
        probe("request_key", libc::SYS_request_key, [memory, memory, 0, 0]),
        rare("userfaultfd", libc::SYS_userfaultfd, [USER_MODE_ONLY]),
        rare("bpf", libc::SYS_bpf, [0, memory, 0]),
        rare("perf_event_open", libc::SYS_perf_event_open, [memory, 0, 0, u64::MAX, 0]),
        probe("vmsplice", libc::SYS_vmsplice, [u64::MAX, 0, 0, 0]),
        rare("fanotify_init", libc::SYS_fanotify_init, [0, 0]),
        rare("finit_module", libc::SYS_finit_module, [u64::MAX, memory, 0]),
        rare("kexec_load", libc::SYS_kexec_load, [0, 0, 0, 0]),
        probe("socket-unix-stream", libc::SYS_socket, [UNIX, libc::SOCK_STREAM as u64, 0]),
        probe("socket-unix-datagram", libc::SYS_socket, [UNIX, DATAGRAM, 0]),
        probe("socketpair-unix", libc::SYS_socketpair, [UNIX, DATAGRAM, 0, memory]),
        probe("socket-tcp", libc::SYS_socket, [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0]),
        rare("socket-raw", libc::SYS_socket, [libc::AF_INET as u64, libc::SOCK_RAW as u64, 17]),
        rare("socket-packet", libc::SYS_socket, [libc::AF_PACKET as u64, libc::SOCK_RAW as u64, 3]),
        rare("socket-netlink-netfilter", libc::SYS_socket, [libc::AF_NETLINK as u64, DATAGRAM, 12]),
        rare("socket-vsock", libc::SYS_socket, [libc::AF_VSOCK as u64, DATAGRAM, 0]),
        rare("socket-alg", libc::SYS_socket, [libc::AF_ALG as u64, libc::SOCK_SEQPACKET as u64, 0]),
        probe("listen", libc::SYS_listen, [u64::MAX, 1]),
        probe("accept4", libc::SYS_accept4, [u64::MAX, 0, 0, 0]),
        probe("fchmod", libc::SYS_fchmod, [u64::MAX, 0o600]),
        probe("fchown", libc::SYS_fchown, [u64::MAX, 0, 0]),
        probe("utimensat", libc::SYS_utimensat, [HERE, memory, 0, 0]),
        probe("fsetxattr", libc::SYS_fsetxattr, [u64::MAX, memory, memory, 0, 0]),
        probe("mknodat", libc::SYS_mknodat, [HERE, memory, 0o010_600, 0]),
        probe("name_to_handle_at", libc::SYS_name_to_handle_at, [HERE, memory, memory, memory, 0]),
        rare("mount", libc::SYS_mount, [memory, memory, memory, 0, 0]),
        rare("unshare-user", libc::SYS_unshare, [libc::CLONE_NEWUSER as u64]),
        rare("setns", libc::SYS_setns, [u64::MAX, 0]),
        rare("chroot", libc::SYS_chroot, [memory]),
        probe("setresuid", libc::SYS_setresuid, [u64::MAX; 3]),
        probe("capset", libc::SYS_capset, [0, 0]),
        rare("syslog", libc::SYS_syslog, [10, 0, 0]),
        // The same by the numbers for 32-bit pointers, where a kernel has them.
        rare("x32-keyctl", libc::SYS_keyctl | X32, [u64::MAX, 0]),
        rare("x32-execve", X32 | 520, [memory, 0, 0]),
        rare("x32-TIOCSTI", X32 | 514, [2, libc::TIOCSTI, memory]),
        rare("x32-rt_sigqueueinfo", X32 | 524, [other, 0, memory]),
        rare("x32-rt_tgsigqueueinfo", X32 | 536, [other, other, 0, memory]),
        rare("x32-vmsplice", X32 | 532, [u64::MAX, 0, 0, 0]),
        rare("x32-move_pages", X32 | 533, [other, 0, 0, 0, 0, 0]),
    ]
}

/// A process that is stopped, and made to call what it would not.
struct Puppet {
    pid: Pid,
    registers: libc::user_regs_struct,
    memory: u64,
}

impl Puppet {
    /// Stops a process while it waits. Fails where this process may not.
    fn stop(pid: u32) -> nix::Result<Puppet> {
        let pid = Pid::from_raw(pid.cast_signed());
        let registers = loop {
            ptrace::attach(pid)?;
            waitpid(pid, None)?;
            let registers = ptrace::getregs(pid)?;
            // In a system call.
            if registers.orig_rax != u64::MAX {
                break registers;
            }
            ptrace::detach(pid, None)?;
            thread::sleep(Duration::from_millis(10));
        };
        // Below what the stopped function may use, with room for what calls write.
        let memory = (registers.rsp - 16_384) & !63;
        for at in (memory..memory + 512).step_by(8) {
            ptrace::write(pid, at as ptrace::AddressType, 0)?;
        }
        Ok(Puppet { pid, registers, memory })
    }

    /// What a call returns: an error is a negative number. `None`: the process has ended.
    fn call(&self, number: i64, arguments: [u64; 6]) -> Option<i64> {
        let mut registers = self.registers;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
        registers.rax = number.cast_unsigned();
        // Nothing is to be restarted.
        registers.orig_rax = u64::MAX;
        // It waits in a call, just behind the instruction that makes one.
        registers.rip -= 2;
        ptrace::setregs(self.pid, registers).ok()?;
        ptrace::step(self.pid, None).ok()?;
        waitpid(self.pid, None).ok()?;
        let after = ptrace::getregs(self.pid).ok()?;
        Some(after.rax.cast_signed())
    }
}

impl Puppet {
    /// What opening this file for reading returns: a descriptor, or an error as a negative number.
    fn open(&self, path: &Path) -> i64 {
        let mut bytes = path.as_os_str().as_encoded_bytes().to_vec();
        bytes.resize(bytes.len() / 8 * 8 + 8, 0);
        for (n, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let at = (self.memory + n as u64 * 8) as ptrace::AddressType;
            ptrace::write(self.pid, at, i64::from_le_bytes(*word)).unwrap();
        }
        self.call(libc::SYS_openat, [HERE, self.memory, 0, 0, 0, 0]).expect("it still runs")
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL);
        let _ = ptrace::detach(self.pid, None);
    }
}

/// Another process of the same user, which does nothing.
fn bystander() -> Running {
    let child: Child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    Running(child)
}

const REFUSED: i64 = -(libc::EPERM as i64);

/// Makes a server, or the process that opens files for it, try everything. `None` where that cannot be done here.
fn outcomes(no_sandbox: bool, of_the_opener: bool) -> Option<Vec<(Probe, i64)>> {
    let base = folders();
    let other = bystander();
    let results = |name: &str| -> Option<Vec<(Probe, i64)>> {
        let mut command = serve(&base.path().join("state"));
        if no_sandbox {
            command.arg("--no-sandbox");
        }
        let (server, mut said) = start(command.arg(base.path().join("share")));
        said.wait_for(r#""event":"ready""#);
        let pid = match of_the_opener {
            true => *children(server.0.id())?.first().expect("it has started none"),
            false => server.0.id(),
        };
        let puppet = match Puppet::stop(pid) {
            Ok(puppet) => puppet,
            Err(error @ (Errno::EPERM | Errno::ENOSYS)) => {
                eprintln!("skipped, since this user may not trace: {error}");
                return None;
            }
            Err(error) => panic!("{pid} cannot be stopped: {error}"),
        };
        let all = probes(other.0.id().into(), puppet.memory);
        let chosen = all.into_iter().filter(|probe| name.is_empty() || probe.name == name);
        Some(
            chosen
                .map(|probe| {
                    let result = puppet.call(probe.number, probe.arguments).expect(probe.name);
                    (probe, result)
                })
                .collect(),
        )
    };
    if !no_sandbox {
        return results("");
    }
    // Without confinement some of them work, and the process is not what it was: a new one for each.
    let mut all = Vec::new();
    for probe in probes(0, 0).iter().filter(|probe| probe.is_open_to_all) {
        all.extend(results(probe.name)?);
    }
    Some(all)
}

/// `None` where the kernel does not tell.
fn children(pid: u32) -> Option<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Some(children.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
}

fn has_filters() -> bool {
    let has = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok();
    if !has {
        eprintln!("skipped, since this kernel has no filters of system calls");
    }
    has
}

#[test]
fn an_intruder_in_a_server_or_its_opener_is_refused_all_that_the_table_says() {
    if !has_filters() {
        return;
    }
    for of_the_opener in [false, true] {
        let Some(outcomes) = outcomes(false, of_the_opener) else { return };
        let wrong: Vec<_> = outcomes.iter().filter(|(_, result)| *result != REFUSED).collect();
        let shown: Vec<_> = wrong.iter().map(|(probe, result)| (probe.name, result)).collect();
        assert!(shown.is_empty(), "not refused, opener: {of_the_opener}: {shown:?}");
    }
}

#[test]
fn without_confinement_these_calls_come_to_something_else() {
    if !has_filters() {
        return;
    }
    let Some(outcomes) = outcomes(true, false) else { return };
    let same: Vec<_> = outcomes.iter().filter(|(_, result)| *result == REFUSED).collect();
    let shown: Vec<_> = same.iter().map(|(probe, _)| probe.name).collect();
    assert!(shown.is_empty(), "these would show nothing: {shown:?}");
}

#[test]
fn nobody_can_read_the_key_once_it_is_confined() {
    let base = folders();
    let (share, state) = (base.path().join("share/file"), base.path().join("state"));
    let key = base.path().join("outside/key.json");
    let publisher = |more: &[&str]| {
        let mut command = serve(&state);
        command.args(["--name", "n", "--key"]).arg(&key).args(more).arg(&share);
        command
    };
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut getter = super::tool("cjp2p-get", &state);
    getter.args(["-v", "--peer", &silent.local_addr().unwrap().to_string(), "-o"]);
    getter.arg(base.path().join("share/new")).arg(format!("blake3/{}", "ab".repeat(32)));
    for (mut command, is_confined, begun) in [
        (publisher(&["--no-sandbox"]), false, "\"named\""),
        (publisher(&[]), true, "\"named\""),
        (getter, true, "sandbox: "),
    ] {
        let (process, mut said) = start(&mut command);
        if is_confined && said.wait_for("sandbox: ").contains("files are not confined") {
            eprintln!("skipped, since this kernel does not confine files");
            return;
        }
        if begun.contains("named") {
            said.wait_for(begun);
        } else {
            silent.recv_from(&mut [0; 2000]).unwrap();
        }
        let puppet = match Puppet::stop(process.0.id()) {
            Ok(puppet) => puppet,
            Err(error) => return eprintln!("skipped, since this user may not trace: {error}"),
        };
        assert!(key.exists() && puppet.open(&share) >= 0, "it can open what it needs");
        let opened = puppet.open(&key);
        assert_eq!(opened == -i64::from(libc::EACCES), is_confined, "{opened}");
        // Nor is it still open from before.
        let open = fs::read_dir(format!("/proc/{}/fd", process.0.id())).unwrap();
        let is_key = |entry: std::io::Result<fs::DirEntry>| {
            fs::read_link(entry.unwrap().path()).is_ok_and(|path| path == key)
        };
        assert_eq!(open.filter_map(|entry| is_key(entry).then_some(())).count(), usize::from(opened >= 0));
    }
}

#[test]
fn the_table_of_what_is_refused_names_every_probe_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/confinement.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## System calls\n").expect("there is a section of system calls");
    let rows =
        section.split("\n## ").next().unwrap_or_default().lines().filter(|line| line.starts_with("| "));
    let last = rows.filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next());
    let named: BTreeSet<&str> = last.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let tried: BTreeSet<&str> = probes(0, 0).iter().map(|probe| probe.name).collect();
    assert_eq!(named, tried);
}
