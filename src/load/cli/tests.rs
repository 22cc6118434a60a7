use super::*;

fn parsed(line: &str) -> Option<Invocation> {
    parse(
        format!("hello-load {line}")
            .trim()
            .split(' ')
            .map(str::to_owned),
    )
    .ok()
}

#[test]
fn the_plan_follows_from_what_is_asked_for() {
    let check = |line: &str, exchanges: Option<u64>, hold: u64| {
        let plan = parsed(line).unwrap().options.plan;
        assert_eq!((plan.exchanges, plan.hold), (exchanges, hold), "{line}");
    };
    check("", Some(10_000), 0);
    check("-n 5", Some(5), 0);
    check("-d 3s", None, 0);
    check("-d 3s -n 5", Some(5), 0);
    check("-d 0", None, 0);
    check("--hold 7", Some(0), 7);
    check("--hold 7 -r 10", Some(10_000), 7);
    check("--hold 7 -r 10 -d 1s", None, 7);
    check("--check", Some(1), 0);
    check("--check 127.0.0.1:1 127.0.0.1:2", Some(2), 0);
    check("-n 20k --hold 1M", Some(20_000), 1_000_000);
}

#[test]
fn the_command_line_can_be_repeated() {
    let line = "-n 5 --greeting hel'lo\\n unix:/a";
    let invocation = parsed(line).unwrap();
    let quoted = r"hello-load -n 5 --greeting 'hel'\''lo\n' unix:/a";
    assert_eq!(invocation.line, quoted);
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "-c 0",
        "-r 0",
        "--hold 1 --ramp 0",
        "--ramp 1",
        "-n x",
        "-n 5kk",
        "-n 99999999999999M",
        "--payload 0",
        "--payload 9-3",
        "--payload 1048577",
        "--source here",
        "--fail-if p99",
        "--greeting \\q",
        "127.0.0.1",
        "--max-read 0",
        "--max-read 1048577",
        "--max-read +5",
        // What would be ignored.
        "-c 4 -r 10",
        "-d 0 -n 5",
        "--threads 5 -c 4",
        "--threads 65",
        "--threads 5 -n 4",
        "--threads 5 --hold 4",
        "--threads 0",
        "--check --threads 2",
        "--check -n 5",
        "--check -c 5",
        "--check -d 5s",
        "--check -r 5",
        "--check --hold 5",
        "--source 127.0.0.1 unix:/a",
        "--merge",
        "--merge a -n 5",
        "--merge a --check",
        "127.0.0.1:1 --merge a",
        "--check --baseline a",
        "--check --compare 127.0.0.1:1 127.0.0.1:2",
        "--compare 127.0.0.1:1",
        "--fail-if p99>2*baseline",
        "--find-rate p99<5ms -n 5",
        "--find-rate p99<5ms -c 5",
        "--find-rate p99<5ms -r 5",
        "--find-rate p99<5ms --hold 5",
        "--find-rate p99<5ms --check",
        "--find-rate p99<5ms -d 999ms",
        "--find-rate p99<5ms -d 0",
        "--find-rate p99>5ms",
        "--find-rate rate<5",
        "--fail-if found_rate<5",
    ] {
        assert!(parsed(line).is_none(), "{line}");
    }
    for line in [
        "-n 0",
        "--threads 64",
        "--threads 5 --hold 4 -n 1",
        "--threads 65 -r 10",
        "--payload 1-1048576",
        "--seed 18446744073709551615",
        "unix:/a [::1]:1",
        "-c 4 -r 10 --hold 5",
        "--source 127.0.0.1 unix:/a 127.0.0.1:1",
        "--max-read 1Mi",
        "--merge a b - --json --html x --fail-if p99>1s",
        "--merge a --baseline b --fail-if p99>2*baseline",
        "--compare 127.0.0.1:1 127.0.0.1:2",
        "--find-rate p99<5ms",
        "--find-rate wrong<=0 -d 1s --fail-if found_rate<5 --payload 1 --source 127.0.0.0/8",
    ] {
        assert!(parsed(line).is_some(), "{line}");
    }
}
