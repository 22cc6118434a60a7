//! What the README shows is what happens: every `console` block of it is run.

use std::io::{Read, Write};
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
        [
            "cargo",
            "telnet",
            "printf",
            "exec",
            "hello-echo",
            "cargo",
            "hello-load",
            "hello-load"
        ]
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

/// In a terminal of its own, as a person sees it: what is typed is shown by the terminal, then
/// comes the echo, then telnet's own word that the server closed.
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

#[test]
fn help() {
    assert_helps("hello-echo", BINARY);
    #[cfg(feature = "load")]
    assert_helps("hello-load", LOAD);
}

fn assert_helps(name: &str, program: &str) {
    let (_, shown) = transcript(&format!("{name} --help"));
    let output = Command::new(program).arg("--help").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), shown);
}

/// The report that the README shows is one of this run's: the same lines with the same counts, if not
/// the same times.
#[cfg(feature = "load")]
#[test]
fn hello_load_report() {
    if !util::have_descriptors(5100) {
        return;
    }
    let (command, shown) = transcript("hello-load --hold");
    let server = Server::start(&[]);
    let output = Command::new(LOAD)
        .args(command.split(' ').skip(1))
        .arg(server.address().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(without_times(&said), without_times(shown), "{said}");
}

/// With every time, rate, seed and bar as a hash; and one line for all bars.
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
                .map_or("", |next| next.trim_end_matches([',', ';']));
            let is_time = ["ns", "µs", "ms", "s", "a", "at", "kB/s", "MB/s"].contains(&next);
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

/// The table of the report's fields has all of them, and nothing else.
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

    let mut names = names_in_table("field");
    names.sort_unstable();
    assert_eq!(names, fields);
}

/// What is in backticks in the first column of the table with this heading.
fn names_in_table(heading: &str) -> Vec<&'static str> {
    let heading = format!("| {heading} | |\n|---|---|\n");
    let (_, table) = README.split_once(&heading).unwrap();
    let rows = table.lines().take_while(|line| line.starts_with("| `"));
    let first = rows.map(|row| row.split(" | ").next().unwrap());
    first
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// The table of metrics has all of them, and nothing else; the reasons, too.
#[test]
fn metrics() {
    let path = util::TempPath::new("metrics.sock");
    let _server = Server::start(&["--metrics", &format!("unix:{}", path.as_str())]);
    let mut stream = util::connect_unix(&path);
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut families: Vec<&str> = families
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    families.sort_unstable();
    let mut names = names_in_table("metric");
    names
        .iter_mut()
        .for_each(|name| *name = name.split('{').next().unwrap());
    names.sort_unstable();
    assert_eq!(names, families);
    let reasons = page.split("{reason=\"").skip(1);
    for reason in reasons.map(|rest| rest.split('"').next().unwrap()) {
        assert!(README.contains(&format!("`{reason}`")), "{reason}");
    }
}
