//! What programs that speak HTTP do with the gateway: curl goes on after a break, wget mirrors a folder, apt installs from one, ffmpeg
//! seeks. Each is skipped where it is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cjp2p_tests::content;
use cjp2p_tests::real::server::Server;
use cjp2p_wire::content_id::ContentId;
use serde_json::Value;

use crate::gateway::Gateway;

/// A program, ended when it takes too long; `None` where it is missing.
fn program(name: &str) -> Option<Command> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&folders).any(|folder| folder.join(name).is_file()) {
        eprintln!("skipped: there is no {name}");
        return None;
    }
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "60", name]).env("http_proxy", "").env("no_proxy", "*");
    Some(command)
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    output
}

/// A server of this folder under the name `site`, and what it is to be asked by.
fn share(folder: &Path, shared: &Path) -> (Server, String) {
    let mut server = Server::start(shared, &folder.join("serve"), &["--name", "site"]);
    let name = server.name();
    (server, name)
}

#[test]
fn curl_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("a folder");
    let bytes = content::bytes(11, 6_000_000);
    fs::write(shared.join("film"), &bytes).expect("a file");
    let server = Server::start(&shared, &folder.path().join("serve"), &[]);
    let gateway = Gateway::start(folder.path(), server.address);
    let to = folder.path().join("film");
    fs::write(&to, &bytes[..2_345_678]).expect("a file");
    let url = format!("http://127.0.0.1:{}/{}", gateway.port(), content::blake3_id(&bytes));
    let Some(mut curl) = program("curl") else { return };
    run(curl.args(["-sS", "--fail", "-C", "-", "-o"]).arg(&to).arg(&url));
    assert!(fs::read(&to).expect("a file") == bytes);
    // Once more: nothing is left to fetch, and that is no error of the file.
    let Some(mut curl) = program("curl") else { return };
    let status = curl.args(["-sS", "-C", "-", "-o"]).arg(&to).arg(&url).status().expect("it starts");
    assert!(status.success());
    assert!(fs::read(&to).expect("a file") == bytes);
}

#[test]
fn wget_mirrors_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = folder.path().join("shared");
    for (path, text) in [("a.txt", "one"), ("with space/b & c.txt", "two"), ("with space/deep/d", "three")] {
        let path = shared.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let (server, name) = share(folder.path(), &shared);
    let gateway = Gateway::start(folder.path(), server.address);
    let url = format!("http://127.0.0.1:{}/{name}/", gateway.port());
    let into = folder.path().join("mirror");
    let Some(mut wget) = program("wget") else { return };
    wget.args(["--quiet", "--mirror", "--no-parent", "--no-host-directories", "--cut-dirs=3"]);
    run(wget.arg("--directory-prefix").arg(&into).arg(url));
    for (path, text) in [("a.txt", "one"), ("with space/b & c.txt", "two"), ("with space/deep/d", "three")] {
        assert_eq!(fs::read_to_string(into.join(path)).expect("a file"), text, "{path}");
    }
}

/// A package with one file, as `dpkg-deb` builds it; `None` where that is missing.
fn package(folder: &Path) -> Option<Vec<u8>> {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("DEBIAN")).expect("a folder");
    fs::create_dir_all(tree.join("usr/share/greeting")).expect("a folder");
    fs::write(tree.join("usr/share/greeting/text"), "hello\n").expect("a file");
    fs::write(tree.join("DEBIAN/control"), CONTROL).expect("a file");
    let path = folder.join("greeting.deb");
    run(program("dpkg-deb")?.args(["--root-owner-group", "--build"]).arg(&tree).arg(&path));
    Some(fs::read(path).expect("a package"))
}

const CONTROL: &str = "Package: greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\n\
                       Description: says hello\n";

#[test]
fn apt_installs_from_a_folder_under_a_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let shared = at("repository");
    fs::create_dir(&shared).expect("a folder");
    let Some(package) = package(folder.path()) else { return };
    fs::write(shared.join("greeting_1.0_all.deb"), &package).expect("a file");
    let ContentId::Sha256(sha256) = content::sha256_id(&package) else { panic!("SHA-256") };
    let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let index =
        format!("{CONTROL}Filename: ./greeting_1.0_all.deb\nSize: {}\nSHA256: {sha256}\n\n", package.len());
    fs::write(shared.join("Packages"), index).expect("a file");
    let (server, name) = share(folder.path(), &shared);
    let gateway = Gateway::start(folder.path(), server.address);
    for path in ["apt/lists/partial", "apt/archives/partial", "apt/etc", "root/var/lib/dpkg/updates"] {
        fs::create_dir_all(at(path)).expect("a folder");
    }
    for path in ["root/var/lib/dpkg/status", "root/var/lib/dpkg/available", "apt/preferences"] {
        fs::write(at(path), "").expect("a file");
    }
    let source = format!("deb [trusted=yes] http://127.0.0.1:{}/{name} ./\n", gateway.port());
    fs::write(at("apt/sources.list"), source).expect("a file");
    let apt = || {
        let mut apt = program("apt-get")?;
        let options = [
            format!("Dir::State={}", at("apt").display()),
            format!("Dir::State::status={}", at("root/var/lib/dpkg/status").display()),
            format!("Dir::Cache={}", at("apt").display()),
            format!("Dir::Etc::sourcelist={}", at("apt/sources.list").display()),
            format!("Dir::Etc::sourceparts={}", at("apt/etc").display()),
            format!("Dir::Etc::preferences={}", at("apt/preferences").display()),
            format!("Dir::Etc::preferencesparts={}", at("apt/etc").display()),
            format!("Dir::Etc::trustedparts={}", at("apt/etc").display()),
            format!("Dir::Log={}", at("apt").display()),
            format!("DPkg::Options::=--root={}", at("root").display()),
            "DPkg::Options::=--force-not-root".into(),
            format!("DPkg::Options::=--log={}", at("dpkg.log").display()),
            "DPkg::Pre-Install-Pkgs::=".into(),
            "APT::Sandbox::User=".into(),
            "APT::Architectures::=".into(),
            "Acquire::http::Proxy=DIRECT".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=0".into(),
        ];
        options.iter().for_each(|option| _ = apt.args(["-o", option]));
        Some(apt)
    };
    let Some(mut update) = apt() else { return };
    let output = run(update.args(["update", "--error-on=any"]));
    assert!(output.status.success());
    let Some(mut install) = apt() else { return };
    run(install.args(["install", "--yes", "greeting"]).env("DEBIAN_FRONTEND", "noninteractive"));
    assert_eq!(fs::read_to_string(at("root/usr/share/greeting/text")).expect("it is installed"), "hello\n");
}

#[test]
fn ffmpeg_seeks_without_fetching_what_lies_between() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("a folder");
    let sound = content::wave(400);
    fs::write(shared.join("sound.wav"), &sound).expect("a file");
    let server = Server::start(&shared, &folder.path().join("serve"), &[]);
    let gateway = Gateway::start(folder.path(), server.address);
    let url = format!("http://127.0.0.1:{}/{}", gateway.port(), content::blake3_id(&sound));
    let Some(mut ffmpeg) = program("ffmpeg") else { return };
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-ss", "300", "-i", &url, "-t", "1", "-f", "s16le", "-"]);
    let output = run(&mut ffmpeg);
    let start = 44 + 300 * 48_000 * 4;
    assert!(output.stdout == sound[start..start + 48_000 * 4], "{} bytes", output.stdout.len());
    let status: Value = serde_json::from_slice(&gateway.get("/status.json", "localhost").1).expect("JSON");
    let moved = status["cache"]["bytes"].as_u64().expect("a number");
    assert!(moved < sound.len() as u64 / 2, "{moved} bytes of {} were fetched for a second", sound.len());
}
