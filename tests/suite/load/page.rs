//! Where the page of --html goes, and when.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::util::{TempDirectory, TempPath, have, skip};

/// What becomes of stdout is nothing to the page.
#[test]
fn the_page_is_written_where_the_report_cannot_be() {
    let (target, _received) = recorder();
    let folder = TempDirectory::new();
    let page = folder.path("page.html");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = load("-n 4 --html", &[&page, &target]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let [_, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let line = "hello-load: cannot write the report: No space left on device (os error 28)\n";
    assert_eq!(stderr, line);
    assert!(std::fs::read_to_string(&page).unwrap().contains("</svg>"));
    assert_eq!(folder.files(), ["page.html"]);
}

/// It waits for no reader of a pipe, follows links that lead nowhere yet, and takes long names.
#[test]
fn the_page_goes_where_its_name_leads() {
    let (target, _received) = recorder();
    let folder = TempDirectory::new();
    let pipe = folder.path("pipe");
    nix::unistd::mkfifo(&*pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let failed = output(&mut load("-n 1 --html", &[&pipe, &target]));
    let [stdout, stderr] = said(&failed);
    assert_eq!((failed.status.code(), &*stdout), (Some(1), ""));
    let line = format!("hello-load: cannot write {pipe}: nobody reads this pipe\n");
    assert_eq!(stderr, line);

    let long = folder.path(&"n".repeat(255));
    let link = folder.path("link");
    let led = folder.path("led-to");
    std::os::unix::fs::symlink("led-to", &link).unwrap();
    for (name, file) in [(&long, &long), (&link, &led)] {
        let output = output(&mut load("-n 1 --html", &[name, &target]));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(std::fs::read_to_string(file).unwrap().contains("</svg>"));
    }
    assert!(std::path::Path::new(&link).is_symlink());
    // So many links are followed, and one more is not.
    let links: Vec<String> = (0..=40)
        .map(|n| folder.path(&format!("link-{n}")))
        .collect();
    for pair in links.windows(2) {
        std::os::unix::fs::symlink(&pair[1], &pair[0]).unwrap();
    }
    let followed = output(&mut load("-n 1 --html", &[&links[1], &target]));
    assert_eq!(followed.status.code(), Some(0), "{followed:?}");
    std::fs::remove_file(&links[40]).unwrap();
    let refused = output(&mut load("-n 1 --html", &[&links[0], &target]));
    let [_, stderr] = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("Too many levels of symbolic links"),
        "{stderr}"
    );
    // A pipe that is read gets all of the page, which is more than it has room for.
    let mut end = std::fs::OpenOptions::new();
    let mut end = end.read(true).write(true).open(&pipe).unwrap();
    let (sender, pieces) = mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n) = end.read(&mut piece) {
            let _ = sender.send(String::from_utf8_lossy(&piece[..n]).into_owned());
        }
    });
    let written = output(&mut load("-n 3000 --html", &[&pipe, &target]));
    assert_eq!(written.status.code(), Some(0), "{written:?}");
    let mut page = String::new();
    while !(page.contains(" id=\"report\">") && page.ends_with("</script>\n")) {
        page += &pieces.recv_timeout(PATIENCE).unwrap();
    }
    assert!(page.len() > 1 << 16, "{} bytes", page.len());
}

/// Until the new page is whole, and for ever if it never is.
#[test]
fn an_old_page_stays_until_there_is_a_new_one() {
    let (right, _received) = recorder();
    let (sender, connected) = mpsc::channel();
    let silent = serve(move |stream| {
        let _ = sender.send(());
        hang(stream)
    });
    let folder = TempDirectory::new();
    let page = TempPath(folder.0.join("page.html"));
    std::fs::write(&page.0, "old").unwrap();
    let mut command = load("-n 1 --html", &[page.as_str(), &silent]);
    let mut child = spawn(&mut command);
    connected.recv_timeout(PATIENCE).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(std::fs::read_to_string(&page.0).unwrap(), "old");
    assert_eq!(folder.files(), ["page.html"], "the old page");
    // A link stays a link, and a device a device.
    let link = TempPath::new("link.html");
    std::os::unix::fs::symlink(&page.0, &link.0).unwrap();
    for name in [link.as_str(), "/dev/null"] {
        let output = output(&mut load("-n 1 --html", &[name, &right]));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let file = TempPath::new("stdout.txt");
    std::fs::write(&file.0, "before\n").unwrap();
    let stdout = std::fs::OpenOptions::new()
        .append(true)
        .open(&file.0)
        .unwrap();
    let mut command = load("-n 1 --html /dev/stdout", &[&right]);
    assert!(command.stdout(stdout).status().unwrap().success());
    let both = std::fs::read_to_string(&file.0).unwrap();
    assert!(
        both.starts_with("before\n") && both.contains("</svg>"),
        "{both}"
    );
    assert!(both.contains("1 exchanges in "), "the report, too: {both}");
    assert!(link.0.is_symlink());
    assert!(std::fs::read_to_string(&page.0).unwrap().contains("</svg>"));
    assert!(!std::path::Path::new("/dev/null").is_file());
    assert_eq!(folder.files(), ["page.html"], "the new page");
}

/// What can only be a folder is refused before the run. A file that cannot be replaced, because it is
/// mounted, as containers have it, or because its folder takes no new file, is overwritten.
#[test]
fn a_page_that_cannot_take_its_name_is_not_lost() {
    let (target, received) = recorder();
    let folder = TempDirectory::new();
    for name in ["folder/", "folder/.", "folder/..", "."] {
        let name = format!("{}/{name}", folder.0.display());
        let refused = output(&mut load("-n 1 --html", &[&name, &target]));
        let [stdout, stderr] = said(&refused);
        assert_eq!((refused.status.code(), &*stdout), (Some(1), ""), "{stderr}");
        assert!(stderr.starts_with(&format!("hello-load: cannot write {name}: ")));
    }
    assert_eq!((received.try_iter().count(), folder.files().len()), (0, 0));

    let [page, mounted] = ["page.html", "mounted.html"].map(|name| folder.0.join(name));
    std::fs::write(&page, "name").unwrap();
    std::fs::write(&mounted, "old ".repeat(100_000)).unwrap();
    let mount = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec"]);
        command.arg(format!("mount --bind \"$1\" \"$2\"; shift; {script}"));
        command
            .arg("sh")
            .args([&mounted, &page])
            .args([LOAD, &target]);
        output(&mut command)
    };
    if !have("unshare") || !mount("true").status.success() {
        skip("no mount namespace may be made here");
    } else {
        let closed = "folder=${1%/*}; mount --rbind \"$folder\" \"$folder\"
            mount -o remount,bind,ro \"$folder\"
            if touch \"$folder/new\" 2>/dev/null; then exit 9; fi";
        for folder_is in ["true", closed] {
            std::fs::write(&mounted, "old ".repeat(100_000)).unwrap();
            let script = "page=$1; shift; exec \"$1\" -n 1 --html \"$page\" \"$2\"";
            let written = mount(&format!("{folder_is}; {script}"));
            assert_eq!(written.status.code(), Some(0), "{written:?}");
            let page = std::fs::read_to_string(&mounted).unwrap();
            assert!(page.ends_with("</script>\n"), "{folder_is}");
        }
        assert_eq!(std::fs::read_to_string(&page).unwrap(), "name");
        assert_eq!(folder.files().len(), 2);
    }
}

/// A folder may change while the run lasts. An old page can still be overwritten. If there is none, the
/// page is lost, but nothing else.
#[test]
fn a_folder_that_takes_no_new_page_any_more_costs_the_page_at_most() {
    // Root may write anywhere; in a user namespace it is a user like any other.
    let mut probe = Command::new("unshare");
    if !have("unshare") || !output(probe.args(["--user", "true"])).status.success() {
        skip("no user namespace may be made here");
        return;
    }
    for (old, is_removed, code) in [
        (Some("old ".repeat(100_000)), false, 0),
        (Some("old".to_owned()), false, 0),
        (None, false, 1),
        (Some("old".to_owned()), true, 1),
    ] {
        let folder = TempDirectory::new();
        let page = folder.path("page.html");
        if let Some(old) = &old {
            std::fs::write(&page, old).unwrap();
        }
        let path = folder.0.clone();
        let target = serve(move |stream| {
            if is_removed {
                std::fs::remove_dir_all(&path)?;
            } else {
                set_mode(&path, 0o555);
            }
            greet(stream)?;
            let payload = receive(stream, LENGTH)?;
            stream.write_all(&payload)
        });
        let mut command = Command::new("unshare");
        let options = ["-n", "1", "--fail-if", "p50>1h", "--html", &page, &target];
        let written = output(command.args(["--user", LOAD]).args(options));
        let [stdout, stderr] = said(&written);
        assert_eq!(written.status.code(), Some(code), "{stderr}");
        assert!(stdout.starts_with("1 exchanges in "), "{stdout}");
        if code == 0 {
            assert_eq!(stderr, "");
            let page = std::fs::read_to_string(&page).unwrap();
            assert!(page.starts_with("<!doctype html>"), "{page}");
            assert!(page.ends_with("</script>\n"), "{page}");
        } else {
            let line = format!("hello-load: cannot write {page}: ");
            assert!(stderr.starts_with(&line), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
        if !is_removed {
            assert_eq!(folder.files().len(), usize::from(old.is_some()));
            set_mode(&folder.0, 0o755);
        }
    }
}

fn set_mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What the run has found is said, too.
#[test]
fn a_page_that_is_lost_hides_no_failure() {
    let target = answering(|_| vec![]);
    let (page, condition) = ("/dev/full", "p50>1ns");
    let mut command = load("-n 1 --fail-if", &[condition, "--html", page, &target]);
    let failed = output(&mut command);
    let [stdout, stderr] = said(&failed);
    assert_eq!(failed.status.code(), Some(1), "{stderr}");
    assert!(stdout.contains("0 right, 1 wrong\n"), "{stdout}");
    let lines = "hello-load: cannot write /dev/full: No space left on device (os error 28)\n\
                 hello-load: p50>1ns: nothing was measured\n";
    assert_eq!(stderr, lines);
}

/// A page that is not longer than the old one takes its room. A longer one might not fit, so the old
/// one stays.
#[test]
fn a_page_that_fits_goes_onto_a_full_disk() {
    let (target, _received) = recorder();
    let folder = TempDirectory::new();
    let script = "mount -t tmpfs -o size=400k none \"$1\"; cd \"$1\"\n\
                  head -c \"$2\" /dev/zero | tr '\\0' o >page.html\n\
                  cat /dev/zero >rest 2>/dev/null || true\n\
                  \"$3\" -n 1 --html page.html \"$4\" >/dev/null && code=0 || code=$?\n\
                  cat page.html; exit $code";
    let run = |script: &str, old: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-ec", script]);
        command.args(["sh", &folder.path(""), old, LOAD, &target]);
        output(&mut command)
    };
    if !have("unshare") || !run("mount -t tmpfs none \"$1\"", "").status.success() {
        skip("no mount namespace may be made here");
        return;
    }
    let [fits, longer] = ["200000", "3"].map(|old| run(script, old));
    let [page, stderr] = said(&fits);
    assert_eq!(fits.status.code(), Some(0), "{stderr}");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</script>\n"));
    let [page, stderr] = said(&longer);
    assert_eq!((longer.status.code(), &*page), (Some(1), "ooo"));
    let line = "hello-load: cannot write page.html: No space left on device (os error 28)\n";
    assert_eq!(stderr, line);
}
