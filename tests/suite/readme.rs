//! What the README and the manual pages say is what happens.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::util::{self, BINARY, Client, Server, have};

#[cfg(feature = "load")]
const LOAD: &str = env!("CARGO_BIN_EXE_hello-load");

const README: &str = include_str!("../../README.md");

/// The blocks of a session: the command after `$ `, and what it shows.
fn transcripts() -> Vec<(&'static str, &'static str)> {
    let blocks = README.split("```console\n").skip(1);
    let session = |block: &'static str| {
        let (session, _) = block.split_once("```").unwrap();
        session
            .strip_prefix("$ ")
            .unwrap()
            .split_once('\n')
            .unwrap()
    };
    blocks.map(session).collect()
}

fn transcript(program: &str) -> (&'static str, &'static str) {
    let mut of_it = transcripts();
    of_it.retain(|(command, _)| command.starts_with(program));
    assert_eq!(of_it.len(), 1, "transcripts of {program} in the README");
    of_it[0]
}

/// A command of the README with the port that the test's server has.
fn aimed(command: &str, server: &Server) -> String {
    let port = server.address().port().to_string();
    let aimed = command.replace("8000", &port);
    assert_ne!(aimed, command, "it goes to the default port");
    aimed
}

#[test]
fn every_transcript_is_tested_here() {
    let programs: Vec<&str> = transcripts()
        .iter()
        .map(|(command, _)| command.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        programs,
        ["cargo", "telnet", "printf", "cargo", "exec", "hello-load"]
    );
}

/// What `cargo run --release` runs. The default address itself may be taken on the machine.
#[test]
fn cargo_run() {
    let (command, shown) = transcripts()[0];
    assert_eq!(command, "cargo run --release");
    let mut default_run = Command::new(BINARY);
    let server = Server::spawn(1, default_run.env("HELLO_ECHO_LISTEN", "127.0.0.1:0"));
    let port = server.address().port().to_string();
    assert_eq!(
        shown.replace("8000", &port),
        format!("listening on {}\n", server.addresses[0])
    );
}

/// In a terminal of its own, as a person sees it: the terminal shows what is typed, then comes the
/// echo, then telnet's own line that the server closed.
#[test]
fn telnet() {
    if !have("telnet") || !have("script") {
        return;
    }
    let (command, shown) = transcript("telnet");
    let server = Server::start(&[]);
    let mut client = Client::start("script", &["-qec", &aimed(command, &server), "/dev/null"]);
    let (_, typed) = shown.split_once("hello\n").unwrap();
    let (typed, _) = typed.split_once('\n').unwrap();
    client
        .expect("hello\r\n")
        .send(format!("{typed}\r").as_bytes());
    client.expect("Connection closed by foreign host.");
    let (output, _) = client.end_input().finish();
    assert_eq!(output.replace('\r', ""), shown);
}

#[test]
fn nc_and_bash() {
    for (program, tool) in [("printf", "nc.openbsd"), ("exec", "bash")] {
        if have(tool) {
            let (command, shown) = transcript(program);
            let server = Server::start(&[]);
            let output = Client::start("bash", &["-c", &aimed(command, &server)])
                .finish()
                .0;
            assert_eq!(output.trim_end(), shown.trim_end(), "{command}");
        }
    }
}

#[cfg(feature = "load")]
#[test]
fn hello_load_check() {
    let (command, shown) = transcript("cargo run --release --bin");
    let arguments = command.strip_prefix("cargo run --release --bin hello-load -- ");
    let server = Server::start(&[]);
    let mut check = Command::new(LOAD);
    check
        .args(arguments.unwrap().split(' '))
        .arg(server.address().to_string());
    let output = check.output().unwrap();
    assert!(output.status.success() && shown.is_empty(), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}

/// The report in the README is one of this run: the same lines with the same counts, if not the
/// same times.
#[cfg(feature = "load")]
#[test]
fn hello_load_report() {
    if !util::have_descriptors(5100) {
        return;
    }
    let (command, shown) = transcript("hello-load --hold");
    let server = Server::start(&[]);
    let (run, rest) = command.split_once(" | ").unwrap();
    let run = run.replacen("hello-load", LOAD, 1);
    // Whether this machine is busy is no matter of the README's.
    let command = format!(
        "{run} {} | grep -v '^hello-load ' | {rest}",
        server.address()
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(without_times(&said), without_times(shown), "{said}");
}

/// With every time, rate, seed and bar replaced by a hash, and one line for all bars.
#[cfg(feature = "load")]
fn without_times(report: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for line in report.lines() {
        if line.trim_start().starts_with('≤') {
            lines.push("≤".to_owned());
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let line = words.iter().enumerate().map(|(i, word)| {
            let next = words
                .get(i + 1)
                .map_or("", |next| next.trim_end_matches([',', ';', ':']));
            let is_time = ["ns", "µs", "ms", "s", "a", "at", "kB/s", "MB/s"].contains(&next)
                || word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('s');
            let word = word.trim_end_matches([',', ';']);
            let is_unit = ["ns", "µs", "ms", "s", "kB/s", "MB/s"].contains(&word);
            let is_seed = i > 0 && words[i - 1] == "seed";
            if is_time || is_unit || is_seed {
                "#"
            } else {
                word
            }
        });
        lines.push(line.collect::<Vec<_>>().join(" "));
    }
    lines.dedup();
    lines
}

/// The manual page has all fields of the report, and no others.
#[cfg(feature = "load")]
#[test]
fn hello_load_json() {
    let server = Server::start(&[]);
    let address = server.address().to_string();
    let run = Command::new(LOAD)
        .args(["--json", "-n", "3", &address])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let fields: Vec<&String> = report.as_object().unwrap().keys().collect();

    let mut names = names_in_manual(include_str!("../../packaging/man/hello-load.1"), "JSON");
    names.sort_unstable();
    assert_eq!(names, fields);
}

/// The names in the tags of a section of a manual page.
fn names_in_manual(page: &'static str, section: &str) -> Vec<&'static str> {
    let (_, section) = page.split_once(&format!("\n.SH {section}\n")).unwrap();
    let (section, _) = section.split_once("\n.SH ").unwrap_or((section, ""));
    let tags = section.split(".TP\n").skip(1);
    let tags = tags.map(|tagged| tagged.lines().next().unwrap());
    tags.flat_map(|tag| {
        let words = tag.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        words.filter(|word| word.len() > 2)
    })
    .collect()
}

/// The manual page has all metrics and all reasons, and no others.
#[test]
fn metrics() {
    const MANUAL: &str = include_str!("../../packaging/man/hello-echo.1");
    let path = util::TempPath::new("metrics.sock");
    let _server = Server::start(&["--metrics", &format!("unix:{}", path.as_str())]);
    let page = page(&path);
    let mut names = names_in_manual(MANUAL, "METRICS");
    names.sort_unstable();
    assert_eq!(names, families(&page));
    let reasons = page.split("{reason=\"").skip(1);
    for reason in reasons.map(|rest| rest.split('"').next().unwrap()) {
        let is_named = MANUAL.lines().any(|line| {
            let mut words = line.strip_prefix(".I").unwrap_or("").split(' ');
            words.any(|word| word == reason)
        });
        assert!(is_named, "{reason}");
    }
}

/// The manual page of hello-load has all its metrics, and no others.
#[cfg(feature = "load")]
#[test]
fn metrics_of_hello_load() {
    const MANUAL: &str = include_str!("../../packaging/man/hello-load.1");
    let path = util::TempPath::new("load-metrics.sock");
    let mut run = Command::new(LOAD);
    run.args(["-d", "1h", "-r", "1", "unix:/nowhere", "--metrics"]);
    run.arg(format!("unix:{}", path.as_str()));
    let mut run = run.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let (mut stderr, mut line) = (run.stderr.take().unwrap(), [0]);
    stderr.read_exact(&mut line).unwrap(); // it says where the metrics are, so they are there
    let page = page(&path);
    run.kill().unwrap();
    run.wait().unwrap();
    let mut names = names_in_manual(MANUAL, "METRICS");
    names.sort_unstable();
    assert_eq!(names, families(&page));
}

fn page(path: &util::TempPath) -> String {
    let mut stream = util::connect_unix(path);
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// The names of the metrics on a page, in order.
fn families(page: &str) -> Vec<&str> {
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut families: Vec<&str> = families
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    families.sort_unstable();
    families
}

/// The table of options agrees with `--help`.
#[test]
fn options() {
    let (_, table) = README
        .split_once("| option | default | |\n|---|---|---|\n")
        .unwrap();
    let rows: Vec<&str> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 10);
    let help = Command::new(BINARY).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for row in rows {
        let cells: Vec<&str> = row
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ', '`']))
            .collect();
        let variable = cells[0]
            .trim_start_matches('-')
            .replace('-', "_")
            .to_uppercase();
        let (option, default) = (format!(" {}", cells[0]), cells[1]);
        let told = format!("[HELLO_ECHO_{variable}, default {default}");
        assert!(
            help.contains(&option) && help.contains(&told),
            "{row}: {told}"
        );
    }
}

/// Every text of these folders, by its path.
fn texts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["", "benches", "packaging"].map(|folder| root.join(folder));
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect()
}

/// Every link to a file of this project, and to a heading, leads there.
#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for path in texts() {
        let text = fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap();
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                path.with_file_name(file)
            };
            assert!(file.exists(), "{}: {target}", path.display());
            let is_there = |line: &str| line.starts_with('#') && anchor(line) == heading;
            let is_known =
                heading.is_empty() || fs::read_to_string(file).unwrap().lines().any(is_there);
            assert!(is_known, "{}: {target}", path.display());
            links += 1;
        }
    }
    assert!(links > 40, "{links}");
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
    text.chars()
        .filter(|c| kept(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// People read it before they decide, so it is one page.
#[test]
fn the_readme_is_short() {
    let (lines, words) = (README.lines().count(), README.split_whitespace().count());
    assert!(
        lines <= 200 && words <= 1400,
        "{lines} lines, {words} words"
    );
}
