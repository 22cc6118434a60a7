//! Each figure of a report means what it says.

use std::time::Duration;

use super::*;
use crate::util::TempPath;

/// Which of them it was.
#[test]
fn several_targets_are_told_apart() {
    let (right, _received) = recorder();
    let wrong = answering(|payload| payload[..1].to_vec());
    let options = "-n 40 -c 4 --timeout 5s";
    let (report, code) = run(options, &[&right, &wrong]);
    assert_eq!(code, Some(3), "{report}");
    let [first, second] = [0, 1].map(|place| &report["by_target"][place]);
    assert_eq!(first["target"], *right);
    assert_eq!([number(first, "opened"), number(first, "right")], [20; 2]);
    assert_eq!(first["wrong"], serde_json::json!({}));
    assert_eq!(first["latency_us"]["total"]["count"], 20);
    assert_eq!([number(second, "opened"), number(second, "right")], [20, 0]);
    assert_eq!(second["wrong"], serde_json::json!({ "short_echo": 20 }));
    assert!(second["latency_us"]["total"]["p99"].is_null());
    let file = TempPath::new("targets.html");
    let mut command = load(options, &["--html", file.as_str(), &right, &wrong]);
    let [stdout, _] = said(&output(&mut command));
    let page = std::fs::read_to_string(&file.0).unwrap();
    assert!(stdout.contains(" 20 short_echo\n"), "{stdout}");
    assert!(page.contains("<h2>By target</h2>") && page.contains("<td>20 short_echo"));
    let [alone, _] = said(&output(&mut load("-n 4", &[&right])));
    assert!(!alone.contains("\ntarget "), "{alone}");
}

/// The rate is of all of the time that the exchanges took, from the first one on.
#[test]
fn an_exchange_takes_no_longer_than_all_of_them() {
    let server = Server::start(&[]);
    let address = &*server.addresses[0];
    for options in [
        "-n 1",
        "-n 40 -c 40",
        "-n 40 -c 40 --threads 4",
        "--hold 5 -n 1",
    ] {
        for _ in 0..5 {
            let (report, code) = run(options, &[address]);
            assert_eq!(code, Some(0), "{report}");
            let exchanging = report["exchanging_s"].as_f64().unwrap() * 1e6;
            // The least value that the histogram takes for the same.
            let longest = report["latency_us"]["total"]["max"].as_f64().unwrap() * 0.999;
            assert!(longest <= exchanging, "{options}: {report}");
        }
    }
}

/// The times are those of right exchanges, so the report says how many there are not.
#[test]
fn exchanges_that_time_out_have_a_total_of_their_own() {
    let connections = std::sync::atomic::AtomicU64::new(0);
    let half = serve(move |stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        if connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 0 {
            return hang(stream);
        }
        stream.write_all(&payload)
    });
    let options = "-n 40 -c 20 --timeout 500ms";
    let (report, code) = run(options, &[&half]);
    // On a busy machine one that the server answers may time out, too.
    assert!(number(&report, "timed_out") >= 20, "{report}");
    assert_eq!(code, Some(3));
    let p90 = |row: &str| report["latency_us"][row]["p90"].as_f64().unwrap();
    assert!(p90("total_timed_out") >= 499_000.0, "{report}");
    assert!(p90("total") < p90("total_timed_out"), "{report}");
    let [stdout, stderr] = said(&output(&mut load(
        &format!("{options} --fail-if timed_out>19 --fail-if total_timed_out.p90>400ms"),
        &[&half],
    )));
    let failed = (20..40).find(|failed| {
        let (right, percent) = (40 - failed, f64::from(*failed) * 100.0 / 40.0);
        stdout.contains(&format!(
            "times of the {right} right exchanges; {failed} failed ({percent:.2} %), {failed} of them timed out\n"
        ))
    });
    assert!(failed.is_some(), "{stdout}");
    let phases = "\na phase also has the times of exchanges that failed after it\n";
    assert!(stdout.contains(phases), "{stdout}");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
}

/// What takes its time is seen in the phase that it belongs to.
#[test]
fn phases_are_times_of_the_server() {
    const PAUSE: Duration = Duration::from_millis(30);
    let slow = |place: usize| {
        serve(move |stream| {
            let pause =
                |at: usize| std::thread::sleep(if at == place { PAUSE } else { Duration::ZERO });
            pause(0);
            greet(stream)?;
            let payload = receive(stream, LENGTH)?;
            pause(1);
            stream.write_all(&payload)?;
            pause(2);
            Ok(())
        })
    };
    for (place, [greeting, echo, eof]) in [
        (0, [true, false, false]),
        (1, [false, true, true]),
        (2, [false, false, true]),
    ] {
        let (report, _) = run("-n 20 -c 1", &[&slow(place)]);
        let least = |row: &str| report["latency_us"][row]["min"].as_f64().unwrap() >= 30_000.0;
        let rows = ["greeting", "echo", "eof"].map(least);
        assert_eq!(rows, [greeting, echo, eof], "{place}: {report}");
        assert!(least("total"), "{report}");
    }
}

/// A run that has not done what it was asked for is not a good one.
#[test]
fn a_run_that_did_not_do_everything_fails() {
    let server = Server::start(&[]);
    let target = &*server.addresses[0];
    for (options, code) in [
        ("-n 0", 3),
        ("-r 10M -d 100ms", 3),
        ("-r 10M -d 100ms --fail-if missed>1M", 0),
        ("-r 10M -d 100ms --fail-if missed>0", 3),
        ("-n 5 --payload 1400", 0),
        ("-n 5 --payload 1400 --fail-if echoed_in_part>0", 3),
        ("-n 5 --payload 1400 --fail-if given_up>0", 0),
    ] {
        let (report, exit) = run(options, &[target]);
        assert_eq!(exit, Some(code), "{options}: {report}");
    }
    // More were due than 2^64.
    let (report, _) = run("-r 18446744073709551615 -d 2s", &[target]);
    let missed = report["missed"].as_f64().unwrap();
    assert!(
        (missed / (2.0 * u64::MAX as f64) - 1.0).abs() < 1e-9,
        "{report}"
    );
}
