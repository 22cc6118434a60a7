//! Several reports become one: --merge.

use std::fs;
use std::path::Path;

use super::*;
use crate::util::TempPath;

/// The report of a run that was right, in a file.
fn written(options: &str, targets: &[&str]) -> (TempPath, Value) {
    let file = TempPath::new("report.json");
    let output = output(load(options, targets).arg("--json"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    fs::write(&file.0, &output.stdout).unwrap();
    (file, report(&output))
}

fn merge(files: &[&str], options: &[&str]) -> Output {
    output(load("--merge", files).args(options))
}

#[test]
fn two_runs_merged_have_the_sums() {
    let [(one, _first), (other, _second)] = [recorder(), recorder()];
    let (a, first) = written("-n 30 -c 4", &[&one]);
    let (b, second) = written("-n 50 -c 7 --hold 3", &[&one, &other]);
    let output = merge(&[a.as_str(), b.as_str()], &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let sum = report(&output);
    for field in [
        "opened",
        "right",
        "held",
        "bytes_sent",
        "bytes_received",
        "bytes_echoed",
    ] {
        let expected = number(&first, field) + number(&second, field);
        assert_eq!(number(&sum, field), expected, "{field}");
    }
    let counts = |row: &str| &sum["latency_us"][row]["count"];
    assert_eq!(
        (counts("total"), counts("held_eof")),
        (&80.into(), &3.into())
    );
    let extreme = |report: &Value, end: &str| report["latency_us"]["total"][end].as_f64().unwrap();
    let [least, most] = ["min", "max"].map(|end| [&first, &second].map(|r| extreme(r, end)));
    assert_eq!(extreme(&sum, "min"), least[0].min(least[1]));
    assert_eq!(extreme(&sum, "max"), most[0].max(most[1]));
    assert_eq!(sum["targets"], serde_json::json!([one, other]));
    let right = |target: usize| number(&sum["by_target"][target], "right");
    assert_eq!((right(0), right(1)), (30 + 27, 26), "{}", sum["by_target"]);
    assert_eq!(sum["began"], first["began"]);
    // What was merged can be merged.
    let file = TempPath::new("sum.json");
    fs::write(&file.0, &output.stdout).unwrap();
    let again = report(&merge(&[b.as_str(), file.as_str()], &["--json"]));
    assert_eq!(number(&again, "right"), 30 + 53 + 53);
}

/// The report goes where that of a run goes, and is judged as one.
#[test]
fn a_sum_is_reported_as_a_run_is() {
    let (target, _received) = recorder();
    let (a, _) = written("-n 20 -c 4", &[&target]);
    let page = TempPath::new("sum.html");
    let options = ["--html", page.as_str(), "--fail-if", "right<40"];
    let output = merge(&[a.as_str(), a.as_str()], &options);
    let [stdout, stderr] = said(&output);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    assert!(stdout.starts_with("40 exchanges in "), "{stdout}");
    assert!(
        fs::read_to_string(&page.0)
            .unwrap()
            .contains(">All 40 right<")
    );
    let output = merge(&[a.as_str()], &["--fail-if", "right<40"]);
    let [_, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stderr, "hello-load: right<40: it is 20\n");

    let file = TempPath::new("wrong.json");
    let wrong = super::output(load("-n 3", &[&answering(|_| vec![])]).arg("--json"));
    fs::write(&file.0, &wrong.stdout).unwrap();
    let output = merge(&[a.as_str(), file.as_str()], &[]);
    let [stdout, _] = said(&output);
    assert_eq!(output.status.code(), Some(3), "{stdout}");
    assert!(stdout.contains("20 right, 3 wrong\n") && stdout.contains("  3 no_echo\n"));
}

/// Several objects may be in one file. Those of a run's intervals count once, with or without the
/// report of the whole run after them; and the file may be stdin.
#[test]
fn a_file_may_have_several_reports() {
    let (target, _received) = recorder();
    let (_, one) = written("-n 10 -c 2", &[&target]);
    let mut interval = one.clone();
    interval["open"] = 0.into();
    let check = |objects: &[&Value], right: u64| {
        let lines: Vec<String> = objects.iter().map(|object| format!("{object}\n")).collect();
        let mut command = load("--merge - --json", &[]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(lines.concat().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!(number(&report(&output), "right"), right);
    };
    check(&[&one], 10);
    check(&[&one, &one, &one], 30);
    check(&[&interval, &interval], 20);
    check(&[&interval, &interval, &one], 10);
    check(&[&one, &interval, &interval, &one, &interval], 30);
}

#[test]
fn what_cannot_be_merged_is_said() {
    let (target, _received) = recorder();
    let (a, one) = written("-n 5 -c 2", &[&target]);
    let file = TempPath::new("odd.json");
    let check = |text: &str, why: &str| {
        fs::write(&file.0, text).unwrap();
        let output = merge(&[a.as_str(), file.as_str()], &["--json"]);
        let [stdout, stderr] = said(&output);
        assert_eq!((output.status.code(), &*stdout), (Some(1), ""), "{stderr}");
        let line = format!("hello-load: cannot read {}: {why}", file.as_str());
        assert!(
            stderr.starts_with(&line) && stderr.lines().count() == 1,
            "{stderr}"
        );
    };
    check("", "there is no report in it\n");
    check("{", "it is not JSON: ");
    check("[]", "it is not an object\n");
    check("{}", "version: it is missing\n");
    let with = |path: &str, value: Value| {
        let mut json = one.clone();
        *json.pointer_mut(path).unwrap() = value;
        json.to_string()
    };
    check(
        &with("/version", 2.into()),
        "version: it is 2, and 1 can be read\n",
    );
    check(
        &with("/right", "many".into()),
        "right: not a count of at most 2^53\n",
    );
    check(
        &with("/options/max_read", 5.into()),
        "it cannot be added: --max-read is 5 and was 1000 before\n",
    );
    check(
        &format!("{one}\n{}", with("/asked_rate", 5.into())),
        "report 2: it cannot be added: it is an open loop, and a closed one was before\n",
    );
    let [_, stderr] = said(&merge(&["/nowhere/at/all"], &[]));
    assert_eq!(
        stderr,
        "hello-load: cannot read /nowhere/at/all: No such file or directory (os error 2)\n"
    );
    for options in ["-n 5", "--check", "--timeout 5s", "--compare"] {
        let output = output(load(options, &["--merge", a.as_str()]).args(["--json"]));
        let [_, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(2), "{options}: {stderr}");
        assert!(stderr.contains("has no effect beside --merge"), "{stderr}");
    }
}

/// Each of the two can be read. Their sum could not, if it were written.
#[test]
fn a_sum_that_is_no_report_is_said() {
    let (target, _received) = recorder();
    let (a, one) = written("-n 5 -c 2", &[&target]);
    let file = TempPath::new("odd.json");
    let check = |field: &str, value: Value, why: &str| {
        let mut odd = one.clone();
        odd[field] = value;
        fs::write(&file.0, odd.to_string()).unwrap();
        let output = merge(&[a.as_str(), file.as_str()], &["--json"]);
        let [stdout, stderr] = said(&output);
        assert_eq!((output.status.code(), &*stdout), (Some(1), ""), "{stderr}");
        assert_eq!(stderr, format!("hello-load: the sum is no report: {why}\n"));
    };
    let most = Value::from(1_u64 << 53);
    check(
        "opened",
        most.clone(),
        "opened: not a count of at most 2^53",
    );
    check(
        "bytes_sent",
        most,
        "bytes_sent: not a count of at most 2^53",
    );
    check(
        "began",
        "9999-01-01T00:00:00Z".into(),
        "seconds: longer than 300 years",
    );
}

/// A sum of which a part was cut short is not all that was asked for.
#[test]
fn a_part_that_was_cut_short_fails_the_sum() {
    let (target, _received) = recorder();
    let (a, mut one) = written("-n 5 -c 2", &[&target]);
    one["cut_short"] = true.into();
    fs::write(&a.0, one.to_string()).unwrap();
    let output = merge(&[a.as_str()], &[]);
    let [stdout, stderr] = said(&output);
    assert_eq!(
        (output.status.code(), &*stderr),
        (Some(3), "hello-load: cut short by a signal\n")
    );
    assert!(
        stdout.starts_with("cut short by a signal\n5 exchanges in "),
        "{stdout}"
    );
}

/// The lines that the Kubernetes Job is used with, without its cluster. Each pod's log has a report, and
/// lines of stderr if the run has failed.
#[test]
fn the_lines_of_the_job_merge_its_reports() {
    let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes-load.yaml");
    let job = fs::read_to_string(job).unwrap();
    let lines = job.lines().map_while(|line| line.strip_prefix('#'));
    let line = lines
        .map(str::trim)
        .find(|line| line.contains("--merge"))
        .unwrap();
    let (target, _received) = recorder();
    let failed = output(&mut load("-n 5 -c 2 --fail-if right>0 --json", &[&target]));
    assert_eq!(failed.status.code(), Some(3), "{failed:?}");
    let log = TempPath::new("pod.log");
    fs::write(&log.0, said(&failed).concat()).unwrap();
    let stand_in = format!(
        "kubectl() {{ cat {0} {0} {0}; }}; {line} --json",
        log.as_str()
    );
    let path = Path::new(LOAD).parent().unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("PATH={}:$PATH; {stand_in}", path.display())]);
    assert_eq!(number(&report(&output(&mut bash)), "right"), 15, "{line}");
}
