//! Where a symbolic link leads.

use super::path::FolderPath;

/// Whether the link at `link` may lead out of the folder that it came with.
///
/// It does not where its target is relative, first goes up no higher than the top, and then only down: every folder above the link
/// is a real one, and whatever it goes down through leads inside as well, if it is a link of the same folder. Going up after going
/// down may lead out, as the way down may have been a link to somewhere higher; that counts as leading out.
pub fn leads_out(link: &FolderPath, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return true;
    }
    let mut above = link.parts().count() - 1;
    let mut goes_down = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if goes_down || above == 0 => return true,
            b".." => above -= 1,
            _ => goes_down = true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_could_reach_outside_is_found_out() {
        for (link, target, out) in [
            ("a", "b", false),
            ("a", "b/c", false),
            ("a", ".", false),
            ("a", "./b//c/", false),
            ("a/b/c", "../../d", false),
            ("a/b/c", "../..", false),
            ("a", "...", false),
            ("a", "..b", false),
            ("a", "/", true),
            ("a", "/etc/passwd", true),
            ("a", "..", true),
            ("a", "./../b", true),
            ("a/b", "../../d", true),
            ("a/b/c", "../../../d", true),
            // `b` may be a link to the top.
            ("a", "b/../c", true),
            ("a/b", "../c/..", true),
        ] {
            let path = FolderPath::new(link.as_bytes()).unwrap();
            assert_eq!(leads_out(&path, target.as_bytes()), out, "{link} -> {target}");
        }
    }
}
