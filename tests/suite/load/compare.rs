//! A run beside an earlier one, and targets beside each other: --baseline and --compare.

use std::fs;
use std::time::Duration;

use super::*;
use crate::util::TempPath;

/// A server that waits so long before its echo.
fn slow(delay: Duration) -> String {
    serve(move |stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        std::thread::sleep(delay); // what is measured, not a way to wait for something
        stream.write_all(&payload)
    })
}

/// The lines of the comparison, by the figure.
fn line<'a>(text: &'a str, figure: &str) -> &'a str {
    let start = format!("  {figure} ");
    text.lines().find(|line| line.starts_with(&start)).unwrap()
}

/// 400 exchanges that take 3 ms at least, and as many that take 60: no machine is so busy that the
/// second are not slower.
#[test]
fn a_slower_run_is_slower_than_its_baseline() {
    let fast = slow(Duration::from_millis(3));
    let file = TempPath::new("baseline.json");
    let options = "-n 400 -c 4";
    let output = output(load(options, &[&fast]).arg("--json"));
    let began = report(&output)["began"].clone();
    fs::write(&file.0, output.stdout).unwrap();

    let page = TempPath::new("slower.html");
    let target = slow(Duration::from_millis(60));
    let mut command = load(options, &[&target, "--baseline", file.as_str()]);
    command.args([
        "--html",
        page.as_str(),
        "--fail-if",
        "total.p50>1.1*baseline",
    ]);
    command.args(["--fail-if", "rate>baseline"]);
    let output = util::output(&mut command);
    let [stdout, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.starts_with("hello-load: total.p50>1.1*baseline: it is "),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for figure in ["rate", "p50"] {
        let line = line(&stdout, figure);
        assert!(
            line.contains(" of the baseline (") && line.ends_with("): slower"),
            "{line}"
        );
    }
    assert!(
        line(&stdout, "p99").ends_with(" of the baseline: too short to tell"),
        "{stdout}"
    );
    let html = fs::read_to_string(&page.0).unwrap();
    assert!(html.contains("<h2>Beside the baseline</h2>") && html.contains(">slower<"));

    let compared = report(&util::output(command.arg("--json")));
    let baseline = &compared["baseline"];
    assert_eq!(baseline["began"], began);
    assert_eq!(baseline["compared"]["p50"]["verdict"], "slower");
    assert!(
        baseline["compared"]["p50"]["ratio"].as_f64().unwrap() > 3.0,
        "{baseline}"
    );
    assert!(
        baseline["compared"]["p99"]["interval"].is_null(),
        "{baseline}"
    );
}

/// The comparison is the same if the second run is read from a file, too.
#[test]
fn a_run_is_no_slower_than_itself() {
    let file = TempPath::new("run.json");
    let target = slow(Duration::from_millis(3));
    let output = output(load("-n 400 -c 4", &[&target]).arg("--json"));
    fs::write(&file.0, output.stdout).unwrap();
    let name = file.as_str();
    let conditions = [
        "--fail-if",
        "p99>1*baseline",
        "--fail-if",
        "rate<1*baseline",
    ];
    let output = util::output(load("--merge", &[name, "--baseline", name]).args(conditions));
    let [stdout, stderr] = said(&output);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    for figure in ["rate", "p50"] {
        let line = line(&stdout, figure);
        assert!(
            line.starts_with(&format!("  {figure} 1.00 of the baseline (")),
            "{line}"
        );
        assert!(line.ends_with("): no difference"), "{line}");
    }
}

#[test]
fn the_slower_of_two_targets_is_slower() {
    let targets = [3, 60].map(|ms| slow(Duration::from_millis(ms)));
    let targets = targets.each_ref().map(String::as_str);
    let page = TempPath::new("compared.html");
    let mut command = load("--compare -n 1000 -c 8", &targets);
    let [stdout, stderr] = said(&output(command.args(["--html", page.as_str()])));
    assert_eq!(stderr, "");
    let line = line(&stdout, "p50");
    assert!(
        line.contains(" of the first (") && line.ends_with("): slower"),
        "{line}"
    );
    let html = fs::read_to_string(&page.0).unwrap();
    assert!(html.contains("<h2>Targets beside the first</h2>") && html.contains(">slower<"));
    let json = report(&output(command.arg("--json")));
    let first = &json["by_target"][0];
    assert!(
        first.get("compared").is_none(),
        "the first is beside nothing"
    );
    let second = &json["by_target"][1]["compared"];
    assert_eq!(second["p50"]["verdict"], "slower", "{second}");
    assert!(second.get("rate").is_none(), "they had as many each");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let (target, received) = recorder();
    let file = TempPath::new("baseline.json");
    let output = output(load("-n 5 -c 2 --payload 1000", &[&target]).arg("--json"));
    fs::write(&file.0, output.stdout).unwrap();
    assert_eq!(received.try_iter().count(), 5);
    for (options, why) in [
        ("-c 3", "--concurrency is 3 and was 2 before"),
        ("-c 2 --payload 10", "--payload is 10 and was 1000 before"),
        ("-c 2 --timeout 5s", "--timeout is 5s and was 1m before"),
        ("-c 2 --hold 5", "--hold is 5 and was 0 before"),
        ("-r 5 --hold 0 -c 2", "--rate is 5 and was none before"),
    ] {
        let mut command = load(options, &[&target, "--baseline", file.as_str()]);
        let output = util::output(&mut command);
        let [_, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(1), "{options}: {stderr}");
        let line = format!("hello-load: cannot compare with {}: {why}\n", file.as_str());
        assert_eq!(stderr, line);
    }
    let mut command = load("-c 2", &[&target, &target, "--baseline", file.as_str()]);
    let [_, stderr] = said(&util::output(&mut command));
    assert!(
        stderr.ends_with("the number of targets is 2 and was 1 before\n"),
        "{stderr}"
    );
    let mut command = load("-c 2", &[&target, "--baseline", "/nowhere/at/all"]);
    let [_, stderr] = said(&util::output(&mut command));
    assert!(
        stderr.starts_with("hello-load: cannot read /nowhere/at/all: "),
        "{stderr}"
    );
    for options in [
        "--compare",
        "--check --baseline x",
        "--fail-if p99>2*baseline",
    ] {
        let output = util::output(&mut load(options, &[&target]));
        assert_eq!(output.status.code(), Some(2), "{options}");
    }
    assert_eq!(received.try_iter().count(), 0, "nobody got so far");
}
