use super::*;

fn meters() -> Arc<Meters> {
    Meters::new(["a\"\\\n".to_owned(), "b".to_owned()])
}

#[track_caller]
fn assert_says(threads: &[Arc<Meters>], line: &str) {
    let page = page(threads);
    assert!(page.lines().any(|said| said == line), "{line}\n{page}");
}

/// Each time is in the bucket whose end it does not exceed, and in those above.
#[test]
fn times_are_in_their_buckets() {
    let meters = [meters()];
    for (i, ns) in [0, 100_000, 100_001, 60_000_000_000, 60_000_000_001]
        .iter()
        .enumerate()
    {
        meters[0].open(1, Duration::ZERO);
        meters[0].right(1, Some(Duration::from_nanos(*ns)));
        let count = i + 1;
        let line = format!("hello_load_exchange_duration_seconds_count{{target=\"b\"}} {count}");
        assert_says(&meters, &line);
    }
    for (le, count) in [
        ("0.0001", 2),
        ("0.00025", 3),
        ("25", 3),
        ("60", 4),
        ("+Inf", 5),
    ] {
        let labels = format!("target=\"b\",le=\"{le}\"");
        let line = format!("hello_load_exchange_duration_seconds_bucket{{{labels}}} {count}");
        assert_says(&meters, &line);
    }
    let sum = "hello_load_exchange_duration_seconds_sum{target=\"b\"} 120.000200002";
    assert_says(&meters, sum);
}

#[test]
fn buckets_end_at_round_times() {
    let page = page(&[meters()]);
    let name = "hello_load_exchange_duration_seconds_bucket{target=\"b\",le=\"";
    let ends = page.lines().filter_map(|line| line.strip_prefix(name));
    let ends: Vec<&str> = ends.map(|end| end.split('"').next().unwrap()).collect();
    assert_eq!(
        ends.join(" "),
        "0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 25 60 +Inf"
    );
}

/// The meters of several threads are added; the latest is the latest of all.
#[test]
fn threads_are_added() {
    let threads = [meters(), meters()];
    for (meters, late) in threads.iter().zip([Duration::from_millis(150), LATE]) {
        meters.open(1, late);
        meters.open(1, Duration::ZERO);
        meters.open(0, Duration::from_millis(120));
        meters.phase(1, Phase::Echo, Duration::from_secs(90));
        meters.right(1, None);
        meters.wrong(1, Fault::TimedOut(Phase::Eof));
        meters.keep_up(3, Duration::from_millis(1500));
        meters.wait(Shortage::Port, late);
    }
    threads[0].go_on(0, 1);
    for line in [
        "hello_load_connections_open{target=\"a\\\"\\\\\\n\"} 1",
        "hello_load_connections_open{target=\"b\"} 1",
        "hello_load_exchanges_total{target=\"b\",outcome=\"right\"} 2",
        "hello_load_exchanges_total{target=\"b\",outcome=\"timed_out_eof\"} 2",
        "hello_load_exchanges_total{target=\"b\",outcome=\"refused\"} 0",
        "hello_load_phase_duration_seconds_bucket{target=\"b\",phase=\"echo\",le=\"60\"} 0",
        "hello_load_phase_duration_seconds_sum{target=\"b\",phase=\"echo\"} 180",
        "hello_load_exchange_duration_seconds_count{target=\"b\"} 0",
        "hello_load_latest_begin_seconds 0.15",
        "hello_load_late_begins_total 3",
        "hello_load_exchanges_overdue 6",
        "hello_load_stood_still_seconds_total 3",
        "hello_load_waited_seconds_total{shortage=\"port\"} 0.25",
        "hello_load_waited_seconds_total{shortage=\"queue\"} 0",
        "# HELP hello_load_late_begins_total Connections that began more than 100 ms late.",
        "# TYPE hello_load_late_begins_total counter",
    ] {
        assert_says(&threads, line);
    }
}

/// A target that is named twice has one series: Prometheus refuses the second of the same labels.
#[test]
fn a_target_that_is_named_twice_is_counted_once() {
    let meters = [Meters::new(["a", "b", "a"].map(str::to_owned))];
    (0..3).for_each(|target| meters[0].open(target, Duration::ZERO));
    meters[0].go_on(1, 2);
    let page = page(&meters);
    let open: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("hello_load_connections_open"))
        .collect();
    assert_eq!(open, ["{target=\"a\"} 3", "{target=\"b\"} 0"]);
}
