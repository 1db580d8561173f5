//! Arguments of cjp2p-serve that are replaced, and file systems that come and go, while the server is confined.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_tests::real::tool;
use serde_json::Value;
use tempfile::TempDir;

use super::{Inbound, Running, folders, serve, start};

/// A confined server of one argument.
struct Server {
    running: Running,
    said: Inbound,
    address: String,
    base: TempDir,
}

impl Server {
    /// Everything that is there is shared. `within`: started by this program, with arguments.
    fn of(base: TempDir, argument: &str, within: &[&str]) -> Server {
        let serve = serve(&base.path().join("state"));
        let mut command = match within.split_first() {
            None => serve,
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(serve.get_program()).args(serve.get_args());
                for (name, value) in serve.get_envs() {
                    value.map(|value| command.env(name, value));
                }
                command
            }
        };
        let (running, mut said) = start(command.arg(base.path().join(argument)));
        let listening: Value = serde_json::from_str(&said.wait_for(r#""event":"listening""#)).unwrap();
        said.wait_for(r#""event":"ready""#);
        let address = listening["address"].as_str().unwrap().to_owned();
        Server { running, said, address, base }
    }

    /// Waits until this content is shared, and fetches it.
    fn until_shared(&mut self, content: &str) {
        let id = format!("blake3/{}", blake3::hash(content.as_bytes()).to_hex());
        loop {
            let line = self.said.wait_for(r#""event":"shared""#);
            if line.contains(&id) {
                break;
            }
        }
        assert_eq!(self.fetch(&id), content);
    }

    fn fetch(&self, id: &str) -> String {
        let mut get = tool("cjp2p-get", &self.base.path().join("getter"));
        let output = get.args(["--quiet", "--peer", &self.address, id]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the server has started.
    fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.running.0.id());
        let children = fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Runs a shell script with the server's view of file systems.
    fn within(&self, script: &str) -> bool {
        let pid = self.running.0.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-m", "sh", "-ec", script]).current_dir("/").stderr(Stdio::null());
        command.status().unwrap().success()
    }
}

#[test]
fn a_file_that_is_replaced_is_shared_as_what_it_is_now() {
    let base = folders();
    fs::write(base.path().join("share/beside"), "none of its business").unwrap();
    let mut server = Server::of(base, "share/file", &[]);
    let file = server.base.path().join("share/file");
    for content in ["once", "twice"] {
        fs::write(file.with_extension("new"), content).unwrap();
        fs::rename(file.with_extension("new"), &file).unwrap();
        server.until_shared(content);
    }
    fs::remove_file(&file).unwrap();
    server.said.wait_for(r#""event":"withdrawn""#);
    fs::write(&file, "made again").unwrap();
    server.until_shared("made again");
    fs::write(&file, "written to").unwrap();
    server.until_shared("written to");
}

#[test]
fn a_file_in_a_folder_that_is_replaced_is_shared_from_the_new_one() {
    let mut server = Server::of(folders(), "share/file", &[]);
    let share = server.base.path().join("share");
    for round in ["first", "second", "third"] {
        fs::rename(&share, server.base.path().join(round)).unwrap();
        server.said.wait_for(r#""event":"withdrawn""#);
        fs::create_dir(&share).unwrap();
        fs::write(share.join("beside"), format!("beside, {round}")).unwrap();
        fs::write(share.join("file"), round).unwrap();
        server.until_shared(round);
    }
    let edited = Command::new("sed").args(["-i", "s/third/edited/"]).arg(share.join("file")).status();
    assert!(edited.unwrap().success());
    server.until_shared("edited");
    assert!(!server.said.seen.iter().any(|line| line.contains("beside")), "{:?}", server.said.seen);
}

#[test]
fn a_folder_that_is_replaced_is_shared_as_what_it_is_now() {
    let mut server = Server::of(folders(), "share", &[]);
    let share = server.base.path().join("share");
    fs::rename(&share, server.base.path().join("old")).unwrap();
    server.said.wait_for(r#""event":"withdrawn""#);
    fs::create_dir_all(share.join("sub")).unwrap();
    fs::write(share.join("sub/a"), "of another folder").unwrap();
    server.until_shared("of another folder");
    fs::remove_dir_all(&share).unwrap();
    fs::create_dir(&share).unwrap();
    fs::write(share.join("b"), "of a third one").unwrap();
    server.until_shared("of a third one");
    fs::write(share.join("c"), "noticed there").unwrap();
    server.until_shared("noticed there");
}

#[test]
fn a_link_that_is_switched_is_shared_as_what_it_leads_to_now() {
    let base = folders();
    let link = |to: &str| {
        symlink(to, base.path().join("next")).unwrap();
        fs::rename(base.path().join("next"), base.path().join("current")).unwrap();
    };
    for name in ["1", "2"] {
        fs::create_dir(base.path().join(name)).unwrap();
        fs::write(base.path().join(name).join("file"), format!("release {name}")).unwrap();
    }
    link("1");
    let path = base.path().to_path_buf();
    let mut server = Server::of(base, "current", &[]);
    for name in ["2", "1"] {
        symlink(name, path.join("next")).unwrap();
        fs::rename(path.join("next"), path.join("current")).unwrap();
        server.until_shared(&format!("release {name}"));
    }
}

#[test]
fn a_server_whose_opener_has_ended_says_so_and_goes_on_with_what_it_had() {
    let mut server = Server::of(folders(), "share", &[]);
    let children = server.children();
    let &[opener] = &children[..] else {
        eprintln!(
            "skipped, since this kernel does not tell which processes another has started: {children:?}"
        );
        return;
    };
    let killed = Command::new("kill").args(["-9", &opener.to_string()]).status().unwrap();
    assert!(killed.success());
    fs::write(server.base.path().join("share/new"), "as before").unwrap();
    server.until_shared("as before");
    let share = server.base.path().join("share");
    fs::rename(&share, server.base.path().join("old")).unwrap();
    fs::create_dir(&share).unwrap();
    server.said.wait_for("what is replaced from now on is shared at the next start");
    server.said.wait_for("ermission denied");
}

/// Runs its own view of file systems, if this user may.
const OWN_MOUNTS: [&str; 4] = ["unshare", "-m", "--propagation", "private"];

fn may_mount() -> bool {
    let mut command = Command::new(OWN_MOUNTS[0]);
    let script = "mount -t tmpfs none /mnt && nsenter --version";
    let status =
        command.args(&OWN_MOUNTS[1..]).args(["sh", "-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
    let may = status.status().is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped, since this user may not mount anything here");
    }
    may
}

fn until(done: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if done() {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    false
}

#[test]
fn what_is_mounted_over_and_below_a_share_is_shared_until_it_is_unmounted() {
    if !may_mount() {
        return;
    }
    let base = folders();
    fs::create_dir(base.path().join("share/below")).unwrap();
    let mut server = Server::of(base, "share", &OWN_MOUNTS);
    let aside = server.base.path().join("aside").display().to_string();
    for place in ["share", "share/below"] {
        let point = server.base.path().join(place).display().to_string();
        for how in ["umount", "umount -l"] {
            let content = format!("{place} {how}");
            // Mounted when it is full already: what tells of it is that it is mounted.
            let mount = format!(
                "mkdir -p '{aside}'; mount -t tmpfs none '{aside}'; echo -n '{content}' > '{aside}/mounted'; \
                 mount --move '{aside}' '{point}'"
            );
            assert!(server.within(&mount), "{mount}");
            server.until_shared(&content);
            let unmount = format!("{how} '{point}'");
            assert!(until(|| server.within(&unmount)), "{unmount}: it stays busy");
            loop {
                let line = server.said.wait_for(r#""event":"withdrawn""#);
                if line.contains(&blake3::hash(content.as_bytes()).to_hex().to_string()) {
                    break;
                }
            }
        }
    }
}

#[test]
fn the_process_that_opens_has_nothing_open_of_what_is_shared() {
    let server = Server::of(folders(), "share", &[]);
    for pid in [&server.children()[..], &[server.running.0.id()]].concat() {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let open = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        let shared: Vec<_> = open.filter(|path: &std::path::PathBuf| is_below(path, &server)).collect();
        assert!(shared.is_empty(), "{shared:?}");
    }
}

fn is_below(path: &Path, server: &Server) -> bool {
    path.starts_with(server.base.path().join("share"))
}
