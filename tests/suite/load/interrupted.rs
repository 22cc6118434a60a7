//! Runs that a signal or a terminal ends.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hello_echo::load::Load;
use nix::sys::signal::{Signal, raise};

use super::*;
use crate::util::{Client, have};

/// Who waits for a report that cannot be written is not deaf.
#[test]
fn a_signal_ends_a_run_that_cannot_report() {
    let (target, received) = recorder();
    let (mut full, _unread) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 4096]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    let mut command = load("-n 1", &[&target]);
    let stdout = Stdio::from(std::os::fd::OwnedFd::from(full));
    let mut child = command
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    received.recv_timeout(PATIENCE).unwrap();
    let pid = child.id().to_string();
    let status = util::in_time("the end after a SIGINT or two", move || {
        // The first may come before the run is over, and only cut it short.
        loop {
            assert!(signal(&pid, "INT"));
            let patience = Duration::from_millis(100);
            if let Some(status) = util::status_within(patience, &mut child) {
                return status;
            }
        }
    });
    assert_eq!(status.code(), Some(130));
}

#[test]
fn an_interrupted_run_reports_what_there_was() {
    let (code, output) = interrupted("-d 1h -c 4 --hold 20 --json", |payload| payload);
    assert_cut_short(&output, 24);
    assert_eq!(code, Some(130), "what there was is right");
    let (code, output) = interrupted("-d 1h -c 4 --json", |_| b"hello?".to_vec());
    let report = assert_cut_short(&output, 4);
    assert_eq!(code, Some(130), "{report}");
    assert!(wrongs(&report) >= 96, "{report}");
    let (code, output) = interrupted("-d 1h -c 4", |payload| payload);
    let [stdout, _] = said(&output);
    assert_eq!(code, Some(130), "{stdout}");
    assert!(stdout.starts_with("cut short by a signal\n"), "{stdout}");
}

/// A run that is interrupted once a server that answers so has had 100 payloads.
fn interrupted(
    options: &str,
    answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> (Option<i32>, Output) {
    let (sender, received) = mpsc::channel();
    let target = answering(move |payload| {
        let _ = sender.send(());
        answer(payload)
    });
    let child = spawn(&mut load(options, &[&target]));
    (0..100).for_each(|_| received.recv_timeout(PATIENCE).unwrap());
    let output = interrupt(child);
    (output.status.code(), output)
}

fn assert_cut_short(output: &Output, open: u64) -> Value {
    let report = report(output);
    assert_eq!(report["cut_short"], true, "{report}");
    assert!(
        (open - 4..=open).contains(&number(&report, "given_up")),
        "{report}"
    );
    assert!(number(&report, "opened") >= 100, "{report}");
    report
}

/// All that it began is right in the end, so the exit code is 0. timeout(1) sends two signals at once.
#[test]
fn an_endless_run_ends_in_order() {
    let (sender, received) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let target = answering(move |payload| {
        let _ = sender.send(());
        let _ = gate.lock().unwrap().recv();
        payload
    });
    let child = spawn(&mut load("-d 0 -c 4 --hold 20 --json", &[&target]));
    let exchanges = |count: u32| {
        for _ in 0..count {
            received.recv_timeout(PATIENCE).unwrap();
            go_on.send(()).unwrap();
        }
    };
    exchanges(100);
    let pid = child.id().to_string();
    for name in ["STOP", "TERM", "INT", "CONT"] {
        assert!(signal(&pid, name)); // it gets both when it goes on
    }
    // Those under way now are the last; the next ones are those that were held.
    std::thread::spawn(
        move || {
            while received.recv_timeout(PATIENCE).is_ok() && go_on.send(()).is_ok() {}
        },
    );
    let output = util::in_time("the end", || child.wait_with_output().unwrap());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["cut_short"], false);
    assert_eq!(number(&report, "right"), number(&report, "opened"));
    assert!(number(&report, "right") >= 120, "{report}");
}

/// An exchange that hangs holds it up until its timeout, or until the second signal.
#[test]
fn a_second_signal_cuts_an_endless_run_short() {
    let (sender, received) = mpsc::channel();
    let target = serve(move |stream| {
        greet(stream)?;
        receive(stream, LENGTH)?;
        let _ = sender.send(());
        hang(stream)
    });
    let mut child = spawn(&mut load("-d 0 -c 4 --json", &[&target]));
    (0..4).for_each(|_| received.recv_timeout(PATIENCE).unwrap());
    assert!(signal(&child.id().to_string(), "HUP"));
    let early = util::status_within(Duration::from_millis(300), &mut child);
    assert_eq!(early, None);
    let output = interrupt(child);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(130), "{report}");
    assert_eq!(number(&report, "given_up"), 4, "{report}");
}

/// They come while the client is busy, so it hears of both at once.
#[test]
fn the_first_of_two_signals_counts() {
    if !util::alone(the_first_of_two_signals_counts) {
        return;
    }
    use Signal::{SIGINT, SIGTERM};
    for signals in [[SIGTERM, SIGINT], [SIGINT, SIGTERM]] {
        let mut load = Load::new(util::load_options("127.0.0.1:9", 1 << 40, 1)).unwrap();
        load.catch_signals().unwrap();
        signals.iter().for_each(|signal| raise(*signal).unwrap());
        while load.turn(PATIENCE).unwrap() {}
        assert_eq!(load.signal(), Some(signals[0] as i32), "{signals:?}");
    }
}

/// While it opens those that it will hold, and while it finishes them.
#[test]
fn an_interrupted_run_says_so_in_every_stage() {
    for (options, stage, reached) in [
        ("--hold 1000 --ramp 20", "opening", 5),
        ("--hold 50 -n 0 -c 4", "finishing", 4),
    ] {
        let (sender, events) = mpsc::channel();
        let target = serve(move |stream| {
            let _ = sender.send("opening");
            greet(stream)?;
            receive(stream, LENGTH)?;
            let _ = sender.send("finishing");
            hang(stream)
        });
        let child = spawn(&mut load(&format!("{options} --json"), &[&target]));
        let mut left = reached;
        while left > 0 {
            let event = events.recv_timeout(PATIENCE).unwrap();
            left -= i32::from(event == stage);
        }
        let report = report(&interrupt(child));
        assert_eq!(report["cut_short"], true, "{report}");
        let opened = number(&report, "opened");
        assert_eq!((number(&report, "given_up"), wrongs(&report)), (opened, 0));
        assert!((reached as u64..=50).contains(&opened), "{report}");
    }
}

/// A terminal that closes leaves no run behind that nobody sees.
#[test]
fn a_hangup_cuts_it_short() {
    let (target, received) = recorder();
    let child = spawn(&mut load("-d 1h -c 4 --json", &[&target]));
    (0..100).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    assert!(signal(&child.id().to_string(), "HUP"));
    let output = util::in_time("the end", || child.wait_with_output().unwrap());
    assert_cut_short(&output, 4);
}

/// In a terminal of its own, where Ctrl-C is typed.
#[test]
fn a_terminal_sees_progress() {
    if !have("script") {
        return;
    }
    let server = Server::start(&[]);
    // exec: a shell that waits for it would be interrupted, too, and its status is what is seen.
    let command = format!(
        "TERM=xterm exec {LOAD} -n {} -c 2 --hold 3 {}",
        u64::MAX,
        server.addresses[0]
    );
    let mut terminal = Client::start("script", &["-qec", &command, "/dev/null"]);
    // Into 80 columns fits all of it, at least once the rate is known.
    terminal
        .expect("exchanging, ")
        .expect(" 0 wrong,")
        .expect(" left");
    let (seen, status) = terminal.send(b"\x03").expect("seed ").finish();
    assert_eq!(status.code(), Some(130), "{seen}");
    assert!(seen.contains("cut short by a signal"), "{seen}");
}

/// A terminal that does not know the escapes would show them.
#[test]
fn a_dumb_terminal_sees_no_progress() {
    if !have("script") {
        return;
    }
    let (target, _received) = recorder();
    for (term, sees) in [("xterm", true), ("dumb", false)] {
        let session = format!("TERM={term} {LOAD} -r 100 -n 40 {target} >/dev/null");
        let mut script = Command::new("script");
        let [seen, _] = said(&output(script.args(["-qec", &session, "/dev/null"])));
        assert_eq!(seen.contains('\x1b'), sees, "{seen:?}");
        assert_eq!(seen.contains("exchanging"), sees, "{seen:?}");
    }
}

/// These are for the server, which may have the same process group: the report of its counters, and a log
/// file that is full.
#[test]
fn other_signals_do_not_end_a_run() {
    let (target, received) = recorder();
    let child = spawn(&mut load("-d 1h -c 4 --json", &[&target]));
    (0..20).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    for name in ["USR1", "XFSZ"] {
        assert!(signal(&child.id().to_string(), name));
    }
    (0..1000).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    assert_cut_short(&interrupt(child), 4);
}
