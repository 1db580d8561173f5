//! System calls that a tool of this project never makes after its start, refused by a filter in the kernel.
//!
//! A list of what is refused, not of what is allowed: a C library that begins to use another call for the same purpose,
//! as they do, must not break a tool years after it was built.

use std::collections::BTreeMap;

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, CLONE_THREAD, EPERM, IPPROTO_TCP, IPPROTO_UDP, NETLINK_ROUTE, PROT_EXEC,
    SOCK_DGRAM, SOCK_STREAM, c_long,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Refused whatever is asked of them.
const REFUSED: &[c_long] = &[
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    // Connections that come in.
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Attributes of files, which Landlock leaves alone. Files are cut by their descriptors.
    libc::SYS_truncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // What the machine looks like.
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_personality,
    // Large parts of the kernel that we do not need and that others got in by.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
];

/// Calls that only this architecture has, most of them old forms of those above.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// Refuses these calls to the calling thread and all that it starts. `interfaces`: but not to ask about network interfaces;
/// `tcp`: nor to open TCP connections.
pub(super) fn refuse(interfaces: bool, tcp: bool) -> Result<(), String> {
    refuse_calls(interfaces, tcp).map_err(|error| error.to_string())
}

fn refuse_calls(interfaces: bool, tcp: bool) -> Result<(), seccompiler::Error> {
    let mut rules: Rules = BTreeMap::new();
    rules.extend(REFUSED.iter().chain(OLD).map(|call| (*call, Vec::new())));
    rules.insert(libc::SYS_clone, vec![rule(&[not_with(0, CLONE_THREAD)?])?]);
    rules.insert(
        libc::SYS_tgkill,
        vec![rule(&[is_not(0, libc::pid_t::try_from(std::process::id()).unwrap_or(-1))?])?],
    );
    rules.insert(libc::SYS_socket, sockets(interfaces, tcp)?);
    // Nothing new becomes a program in memory either.
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        rules.insert(call, vec![rule(&[with(2, PROT_EXEC)?])?]);
    }
    apply(rules, EPERM)?;
    // Its flags are in memory, where no filter can look. A C library that is told that there is no such call uses `clone`.
    apply(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// All sockets but those of UDP, with `interfaces` those by which the kernel tells about network interfaces, and with `tcp` those of
/// TCP.
fn sockets(interfaces: bool, tcp: bool) -> Result<Vec<SeccompRule>, BackendError> {
    /// The part of the type argument that is not flags.
    const TYPE: u64 = 0xf;
    let of_another_family = [is_not(0, AF_INET)?, is_not(0, AF_INET6)?];
    let mut rules = Vec::new();
    if interfaces {
        rules.push(rule(&[&of_another_family[..], &[is_not(0, AF_NETLINK)?]].concat())?);
        rules.push(rule(&[is(0, AF_NETLINK)?, is_not(2, NETLINK_ROUTE)?])?);
    } else {
        rules.push(rule(&of_another_family)?);
    }
    let (mut protocols, mut kinds) = (vec![0, IPPROTO_UDP], vec![SOCK_DGRAM as u64]);
    if tcp {
        protocols.push(IPPROTO_TCP);
        kinds.push(SOCK_STREAM as u64);
    }
    for family in [AF_INET, AF_INET6] {
        let mut of_another_protocol = vec![is(0, family)?];
        for protocol in &protocols {
            of_another_protocol.push(is_not(2, *protocol)?);
        }
        rules.push(rule(&of_another_protocol)?);
        for kind in (0..=TYPE).filter(|kind| !kinds.contains(kind)) {
            rules.push(rule(&[is(0, family)?, condition(1, SeccompCmpOp::MaskedEq(TYPE), kind)?])?);
        }
    }
    Ok(rules)
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.to_vec())
}

/// Numbers are compared as the kernel takes them: 32 bits of the register.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn is(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Eq, u64::from(value.cast_unsigned()))
}

fn is_not(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Ne, u64::from(value.cast_unsigned()))
}

fn with(argument: u8, flag: i32) -> Result<SeccompCondition, BackendError> {
    let flag = u64::from(flag.cast_unsigned());
    condition(argument, SeccompCmpOp::MaskedEq(flag), flag)
}

fn not_with(argument: u8, flag: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::MaskedEq(u64::from(flag.cast_unsigned())), 0)
}

/// From now on these calls fail with `errno`. Calls of another architecture, such as those of 32-bit programs, end the process.
fn apply(mut rules: Rules, errno: i32) -> Result<(), seccompiler::Error> {
    other_numbers(&mut rules);
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let here = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, here)?;
    apply_filter(&BpfProgram::try_from(filter)?)
}

/// The kernel knows each call by a second number, for 32-bit pointers (x32): refuses these too, with all arguments.
#[cfg(target_arch = "x86_64")]
fn other_numbers(rules: &mut Rules) {
    /// Set in all of them.
    const X32: c_long = 0x4000_0000;
    /// Those that have numbers of their own there: execve, ptrace, kexec_load, process_vm_readv and _writev, execveat.
    const OWN: [c_long; 6] = [520, 521, 528, 539, 540, 545];
    let seconds: Vec<c_long> = rules.keys().map(|call| call | X32).collect();
    rules.extend(seconds.into_iter().chain(OWN.map(|call| call | X32)).map(|call| (call, Vec::new())));
}

#[cfg(not(target_arch = "x86_64"))]
fn other_numbers(_: &mut Rules) {}
