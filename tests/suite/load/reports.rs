//! What a run says in the end, where it says it, and with which exit code.

use super::*;
use crate::util::{TempPath, have};

#[test]
fn a_check_is_silent_or_says_one_line() {
    let check = |options: &str, target: &str, code: i32, line: &str| {
        let output = output(&mut load(&format!("--check {options}"), &[target]));
        let [stdout, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert_eq!(stdout, "");
        assert_eq!(
            stderr.lines().count(),
            usize::from(!line.is_empty()),
            "{stderr}"
        );
        assert!(stderr.starts_with("hello-load: ") && stderr.contains(line) || line.is_empty());
    };
    let (right, received) = recorder();
    check("", &right, 0, "");
    assert_eq!(received.try_iter().count(), 1, "one exchange");
    check("", &answering(|_| vec![]), 3, "no_echo");
    check("--timeout 100ms", &serve(hang), 3, "timed_out_greeting");
    check("--fail-if p50<1h", &right, 3, "p50<1h: it is ");
    check(
        "",
        "no-such-host.invalid:1",
        1,
        "cannot resolve no-such-host.invalid:1: ",
    );
}

/// One that was stopped has found nothing out, so it does not say that all is well.
#[test]
fn a_check_that_is_cut_short_fails() {
    let (sender, connected) = mpsc::channel();
    let target = serve(move |stream| {
        let _ = sender.send(());
        hang(stream)
    });
    let child = spawn(&mut load("--check", &[&target]));
    connected.recv_timeout(PATIENCE).unwrap();
    let output = interrupt(child);
    let [stdout, stderr] = said(&output);
    assert_eq!(
        (output.status.code(), &*stdout),
        (Some(130), ""),
        "{stderr}"
    );
    assert_eq!(stderr, "hello-load: cut short by a signal\n");
}

#[test]
fn conditions_decide_the_exit_code() {
    let (address, _received) = recorder();
    for (options, code, line) in [
        (
            "-n 20 --fail-if p99>1h --fail-if rate<1 --fail-if wrong>0",
            0,
            "",
        ),
        ("-n 20 --fail-if p99>1ns", 3, "hello-load: p99>1ns: it is "),
        (
            "-n 20 --fail-if rate<1000M --fail-if p99>1h",
            3,
            "hello-load: rate<1000M: it is ",
        ),
        (
            "-n 20 --fail-if right<21",
            3,
            "hello-load: right<21: it is 20\n",
        ),
        ("-n 20 --fail-if right<20", 0, ""),
        (
            "-n 0 --hold 1 --fail-if p99>1h",
            3,
            "p99>1h: nothing was measured\n",
        ),
    ] {
        let output = output(&mut load(&format!("-c 4 {options}"), &[&address]));
        let [_, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(code), "{options}: {stderr}");
        assert!(stderr.contains(line), "{stderr}");
        let lines = usize::from(code == 3);
        assert_eq!(stderr.lines().count(), lines, "{stderr}");
    }
}

#[test]
fn wrong_usage_and_what_cannot_be_done() {
    for options in [
        "-c 0",
        "--payload 0",
        "--fail-if p99",
        "--nonsense",
        "-d 3",
        "-n -1",
    ] {
        let output = output(&mut load(options, &["127.0.0.1:1"]));
        let [stdout, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(2), "{options}: {stderr}");
        assert!(
            stdout.is_empty() && stderr.starts_with("error: "),
            "{stderr}"
        );
    }
    let (address, received) = recorder();
    for (options, line) in [
        ("--hold 1000000", "1000000 are needed\n"),
        ("-n 1 --source 192.0.2.1", "cannot connect from 192.0.2.1: "),
        (
            "-n 1 --source ::1",
            ": it is of another family than every --source\n",
        ),
        (
            "-n 1 --html /nowhere/at/all",
            "cannot write /nowhere/at/all: ",
        ),
    ] {
        let output = output(&mut load(options, &[&address]));
        let [stdout, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(1), "{options}: {stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(
            stdout.is_empty() && last.starts_with("hello-load: "),
            "{stderr}"
        );
        assert!(stderr.contains(line), "{options}: {stderr}");
    }
    assert_eq!(received.try_iter().count(), 0, "nobody got so far");
}

/// What is wrong with the system and not with a connection ends a run, but not its report.
#[test]
fn a_run_that_fails_reports_what_there_was() {
    let (address, _received) = recorder();
    let options = "-n 10 -c 1 --source 127.0.0.1 --source 192.0.2.1";
    let (report, code) = run(options, &[&address]);
    assert_eq!(code, Some(1));
    assert_eq!(
        (number(&report, "right"), &report["cut_short"]),
        (1, &true.into())
    );
    let error = report["error"].as_str().unwrap();
    assert!(
        error.starts_with("cannot connect from 192.0.2.1: "),
        "{error}"
    );
    let [stdout, stderr] = said(&output(&mut load(options, &[&address])));
    assert!(
        stdout.starts_with(&format!("cut short: {error}\n")),
        "{stdout}"
    );
    assert!(
        stderr.ends_with(&format!("hello-load: {error}\n")),
        "{stderr}"
    );
    // What was wrong by then decides the exit code.
    let wrong = answering(|_| vec![]);
    let ended = output(&mut load(options, &[&wrong]));
    let [_, stderr] = said(&ended);
    assert_eq!(ended.status.code(), Some(3), "{stderr}");
    assert_eq!(stderr, format!("hello-load: cut short: {error}\n"));
}

#[test]
fn reports_go_where_they_are_asked_to() {
    let (right, _received) = recorder();
    let wrong = answering(|_| b"<script src=\"http://evil\">".to_vec());
    for (target, code) in [(&right, 0), (&wrong, 3)] {
        let file = TempPath::new("report.html");
        let mut command = load("-n 20 -c 4 --html", &[file.as_str(), target]);
        let [stdout, stderr] = said(&output(&mut command));
        assert!(stdout.starts_with("20 exchanges in "), "{stdout}");
        assert_eq!(
            stderr, "",
            "a run that is not short of anything says nothing"
        );
        let page = std::fs::read_to_string(&file.0).unwrap();
        assert!(page.contains("<svg ") && page.contains("</svg>"), "{page}");
        assert_eq!(page.contains("wrong_echo<td>20"), code == 3, "{page}");
        for tag in [
            "<script src",
            "<link",
            "<img",
            "@import",
            "url(",
            "src=\"",
            "href=",
            "fetch(",
        ] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        assert_eq!(page.contains("http:"), code == 3, "as text only: {page}");
        assert!(page.contains("content=\"default-src 'none'; "), "{page}");
    }
}

/// The copy of the report in the page is what --json says, whatever a target's name is.
#[test]
fn the_page_has_the_report_as_json() {
    let file = TempPath::new("report.html");
    let (right, _received) = recorder();
    let odd = "unix:/nowhere/</script><script>alert(1)</script><!--";
    let mut command = load("-n 4 --json --html", &[file.as_str(), &right, odd]);
    let json = report(&output(&mut command));
    let page = std::fs::read_to_string(&file.0).unwrap();
    let (_, copy) = page
        .split_once("<script type=\"application/json\" id=\"report\">")
        .unwrap();
    let (copy, _) = copy.split_once("</script>").unwrap();
    let copy: Value = serde_json::from_str(copy).unwrap();
    assert_eq!(copy, json);
    assert_eq!(copy["targets"][1], odd);
    assert!(!page.contains("<script>alert"), "{page}");
}

/// The command, what it says before the run, the report and the next prompt fill the terminal.
#[test]
fn the_distribution_fills_the_terminal() {
    if !have("script") {
        return;
    }
    let (target, _received) = recorder();
    for (rows, bars) in [(32, 13), (27, 8)] {
        let session = format!("stty rows {rows} cols 80; {LOAD} -n 500 -c 4 {target} 2>/dev/null");
        let mut script = Command::new("script");
        let [stdout, _] = said(&output(script.args(["-qec", &session, "/dev/null"])));
        let shown = stdout.lines().filter(|line| line.contains('≤')).count();
        // On a busy machine the report has a line or two more, and so as many bars less.
        let remarks = stdout.matches("\nhello-load ").count();
        assert_eq!(shown, bars - remarks, "{stdout}");
        assert_eq!(stdout.lines().count(), rows - 2, "{stdout}");
    }
}

/// A reader that leaves, as head(1) does, has seen enough.
#[test]
fn stdout_may_be_closed() {
    let (target, _received) = recorder();
    for options in ["-n 4", "-n 4 --json"] {
        let mut child = spawn(&mut load(options, &[&target]));
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let [_, stderr] = said(&output);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
        let script = "exec \"$@\" >&-";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh", LOAD, &target])
            .args(options.split(' '));
        let closed = util::output(&mut command);
        assert_eq!(closed.status.code(), Some(0), "{closed:?}");
    }
}
