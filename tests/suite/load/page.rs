//! Where the page of --html goes, and when.

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
/// mounted, as containers have it, is overwritten.
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
        let written = mount("page=$1; shift; exec \"$1\" -n 1 --html \"$page\" \"$2\"");
        assert_eq!(written.status.code(), Some(0), "{written:?}");
        assert!(
            std::fs::read_to_string(&mounted)
                .unwrap()
                .ends_with("</script>\n")
        );
        assert_eq!(std::fs::read_to_string(&page).unwrap(), "name");
        assert_eq!(folder.files().len(), 2);
    }
}
