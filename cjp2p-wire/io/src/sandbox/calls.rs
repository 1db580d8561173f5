//! System calls that a tool of this project never makes after its start, refused by a filter in the kernel.
//!
//! A list of what is refused, not of what is allowed: a C library that begins to use another call for the same purpose,
//! as they do, must not break a tool years after it was built.

mod refused;

use std::collections::BTreeMap;

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, CLONE_THREAD, EPERM, F_NOTIFY, F_SETLEASE, F_SETOWN, IPPROTO_TCP,
    IPPROTO_UDP, NETLINK_ROUTE, PROT_EXEC, SOCK_DGRAM, SOCK_STREAM, c_long,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What a process needs that others do not.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    /// To ask about network interfaces.
    pub(super) interfaces: bool,
    /// To open TCP connections.
    pub(super) tcp: bool,
    /// To take connections that come in.
    pub(super) accepts: bool,
    /// To take those that come in at this descriptor only.
    pub(super) listener: Option<i32>,
    /// No sockets at all, but those that are open.
    pub(super) offline: bool,
    /// To set the modes of open files, and times.
    pub(super) modes_and_times: bool,
}

/// Refuses all calls that are not needed to the calling thread and all that it starts.
pub(super) fn refuse(needs: Needs) -> Result<(), String> {
    refuse_calls(needs).map_err(|error| error.to_string())
}

fn refuse_calls(needs: Needs) -> Result<(), seccompiler::Error> {
    let mut rules: Rules = BTreeMap::new();
    rules.extend(refused::always().map(|call| (call, Vec::new())));
    let modes_and_times = refused::MODES_AND_TIMES.into_iter().filter(|_| needs.modes_and_times);
    let taking_connections = refused::TAKING_CONNECTIONS.into_iter().filter(|_| needs.accepts);
    for call in modes_and_times.chain(taking_connections) {
        rules.remove(&call);
    }
    if let Some(listener) = needs.listener.filter(|_| !needs.accepts) {
        for call in refused::TAKING_CONNECTIONS {
            rules.insert(call, vec![rule(&[is_not(0, listener)?])?]);
        }
    }
    rules.insert(libc::SYS_clone, vec![rule(&[not_with(0, CLONE_THREAD)?])?]);
    let this = libc::pid_t::try_from(std::process::id()).unwrap_or(-1);
    rules.insert(libc::SYS_tgkill, vec![rule(&[is_not(0, this)?])?]);
    // Limits of other processes: one of processor time ends them.
    rules.insert(libc::SYS_prlimit64, vec![rule(&[is_not(0, 0)?, is_not(0, this)?])?]);
    rules.insert(libc::SYS_fcntl, descriptor_commands()?);
    rules.insert(libc::SYS_ioctl, vec![device_commands()?]);
    rules.insert(libc::SYS_socket, if needs.offline { Vec::new() } else { sockets(needs)? });
    // Nothing new becomes a program in memory either.
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        rules.insert(call, vec![rule(&[with(2, PROT_EXEC)?])?]);
    }
    apply(rules, EPERM)?;
    // Its flags are in memory, where no filter can look. A C library that is told that there is no such call uses `clone`.
    apply(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Commands to a descriptor that send signals to a named process, or keep others from opening a file.
fn descriptor_commands() -> Result<Vec<SeccompRule>, BackendError> {
    /// Not in the list of the C library.
    const F_SETSIG: i32 = 10;
    const F_SETOWN_EX: i32 = 15;
    let refused = [F_SETOWN, F_SETOWN_EX, F_SETSIG, F_SETLEASE, F_NOTIFY];
    refused.into_iter().map(|command| rule(&[is(1, command)?])).collect()
}

/// All commands to a device, terminal or socket but a few that only ask, or change a descriptor. The others are many and of any
/// kind: with one of them a terminal takes what it is given for what its user typed (`TIOCSTI`).
fn device_commands() -> Result<SeccompRule, BackendError> {
    #[allow(clippy::unnecessary_cast, reason = "C libraries have different types for these")]
    let allowed = [
        // Whether it is a terminal, and how large.
        libc::TCGETS as u64,
        libc::TCGETS2 as u64,
        libc::TIOCGWINSZ as u64,
        libc::TIOCGPGRP as u64,
        // How descriptors behave, and how many bytes wait in them.
        libc::FIONBIO as u64,
        libc::FIOCLEX as u64,
        libc::FIONCLEX as u64,
        libc::FIONREAD as u64,
        libc::TIOCOUTQ as u64,
        // About network interfaces.
        libc::SIOCGIFNAME as u64,
        libc::SIOCGIFCONF as u64,
        libc::SIOCGIFFLAGS as u64,
        libc::SIOCGIFADDR as u64,
        libc::SIOCGIFBRDADDR as u64,
        libc::SIOCGIFNETMASK as u64,
        libc::SIOCGIFMTU as u64,
        libc::SIOCGIFINDEX as u64,
    ];
    let is_another = |command: u64| condition(1, SeccompCmpOp::Ne, command & u64::from(u32::MAX));
    SeccompRule::new(allowed.into_iter().map(is_another).collect::<Result<_, _>>()?)
}

/// All sockets but those of UDP, those by which the kernel tells about network interfaces, and those of TCP, where they are needed.
fn sockets(needs: Needs) -> Result<Vec<SeccompRule>, BackendError> {
    /// The part of the type argument that is not flags.
    const TYPE: u64 = 0xf;
    let of_another_family = [is_not(0, AF_INET)?, is_not(0, AF_INET6)?];
    let mut rules = Vec::new();
    if needs.interfaces {
        rules.push(rule(&[&of_another_family[..], &[is_not(0, AF_NETLINK)?]].concat())?);
        rules.push(rule(&[is(0, AF_NETLINK)?, is_not(2, NETLINK_ROUTE)?])?);
    } else {
        rules.push(rule(&of_another_family)?);
    }
    let (mut protocols, mut kinds) = (vec![0, IPPROTO_UDP], vec![SOCK_DGRAM as u64]);
    if needs.tcp {
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
    let seconds: Vec<c_long> = rules.keys().map(|call| call | refused::X32).collect();
    rules.extend(seconds.into_iter().map(|call| (call, Vec::new())));
}

#[cfg(not(target_arch = "x86_64"))]
fn other_numbers(_: &mut Rules) {}
