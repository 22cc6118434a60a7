//! Settings, wherever they come from: empty variables, errors that name their source, numbers that
//! are written alike, and text that could deceive a terminal. Both programs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Output, Stdio};

use crate::util::{BINARY, Server, TempPath, assert_rest, output};
use hello_echo::program::cli;

/// An address that no server can have. So a server that would start by mistake ends with an error.
const NOWHERE: &str = "192.0.2.1:1";

/// Runs the server with a wrong setting. Returns what stderr says.
fn refused(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = output(command);
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{command:?}: {said}");
    assert!(stdout.is_empty(), "{command:?}");
    said
}

fn server(options: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["--listen", NOWHERE]).args(options);
    command
}

/// The variables of the options.
fn variables() -> Vec<String> {
    let help = cli::command().render_help().to_string();
    let words = help.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    let ours = words.filter(|word| word.starts_with("HELLO_ECHO_"));
    let ours: Vec<String> = ours.map(str::to_owned).collect();
    assert_eq!(ours.len(), 12, "{ours:?}");
    ours
}

/// What the server logs at its start.
fn log(command: &mut Command) -> String {
    let path = TempPath::new("log");
    let _server = Server::spawn_with(1, command.stderr(File::create(&path.0).unwrap()));
    std::fs::read_to_string(&path.0).unwrap()
}

/// An empty variable is as good as none.
#[test]
fn an_empty_variable_is_unset() {
    let mut command = Command::new(BINARY);
    command.args(["-l", "127.0.0.1:0"]);
    for variable in variables() {
        command.env(variable, "");
    }
    for empty in ["", ",", " "] {
        let log = log(command.env("RUST_LOG", empty));
        assert!(log.contains("can hold "), "RUST_LOG={empty:?}: {log:?}");
    }
    // Nor does a manager that passes nothing in.
    let mut managed = Command::new("sh");
    let script = r#"LISTEN_PID=$$ LISTEN_FDS= NOTIFY_SOCKET= exec "$0" "$@""#;
    managed.args(["-c", script, BINARY, "-l", "127.0.0.1:0"]);
    assert!(log(&mut managed).contains("can hold "));
}

/// The error of a wrong value in a variable names the variable, and that of an option the option,
/// whether or not there is a variable, too.
#[test]
fn an_error_names_the_source_of_the_value() {
    for variable in variables() {
        let option = variable.strip_prefix("HELLO_ECHO_").unwrap();
        let option = format!("--{}", option.to_lowercase().replace('_', "-"));
        let is_wrong = |value: &OsStr, shown: &str| {
            let mut command = Command::new(BINARY);
            let said = refused(command.env(&variable, value));
            let expected = format!("error: invalid value '{shown}' for '{variable}'");
            assert!(said.starts_with(&expected), "{said}");
            assert!(!said.contains(&option), "{said}");

            let argument = [option.as_bytes(), b"=", value.as_bytes()].concat();
            let mut command = Command::new(BINARY);
            command
                .arg(OsString::from_vec(argument))
                .env(&variable, value);
            let said = refused(&mut command);
            let expected = format!("error: invalid value '{shown}' for '{option}");
            assert!(said.starts_with(&expected), "{said}");
            assert!(!said.contains(&variable), "{said}");
        };
        is_wrong(OsStr::new(r"\q"), r"\q");
        is_wrong(OsStr::from_bytes(b"\xff"), "\u{fffd}");
    }
}

/// A switch that a variable turns on can be turned off by its option.
#[test]
fn an_option_turns_off_what_a_variable_turns_on() {
    let start = |options: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["-l", "127.0.0.1:0"]).args(options);
        Server::spawn(1, command.env("HELLO_ECHO_REUSE_PORT", "yes"))
    };
    let share = |first: &Server, options: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .args(["-l", &first.addresses[0], "--grace", "0"])
            .args(options);
        let second = command
            .env("HELLO_ECHO_REUSE_PORT", "1")
            .stderr(Stdio::piped());
        let mut second = second.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = second.stdout.take().unwrap();
        // The `listening` line, or the last line of a server that could not listen.
        let n = std::io::Read::read(&mut stdout, &mut [0; 64]).unwrap();
        let _ = second.kill();
        second.wait().unwrap();
        n > 0
    };
    let on = start(&[]);
    assert!(share(&on, &[]) && share(&on, &["--reuse-port"]));
    assert!(!share(&on, &["--reuse-port=no"]));
    assert!(!share(&start(&["--reuse-port=false"]), &[]));
}

#[test]
fn the_server_reads_numbers_as_the_client_does() {
    let server = Server::start(&[
        "--max-read",
        "1Ki",
        "--backlog=1k",
        "--max-connections",
        "1M",
    ]);
    let mut client = server.connect();
    client.write_all(&[b'a'; 2000]).unwrap();
    let expected = [&b"hello\n"[..], &[b'a'; 1024]].concat();
    assert_rest(&mut client, &expected);

    for option in ["--max-read", "--backlog", "--max-connections"] {
        for wrong in ["+5", "5m", "1.5", "0x10", " 5", "5ki", "1e3", "k"] {
            let said = refused(&mut self::server(&[&format!("{option}={wrong}")]));
            assert!(said.contains("such as 1500, 10k, 1M or 64Ki"), "{said}");
        }
    }
    for option in ["--timeout", "--linger", "--grace", "--stats"] {
        for wrong in ["5", "+5s", "1m 5", "5 parsecs"] {
            let said = refused(&mut self::server(&[&format!("{option}={wrong}")]));
            assert!(said.contains("(ns, us, ms, s, m, h or d)"), "{said}");
        }
    }
}

/// Characters that would move the cursor, end a line or change the reading order, in the middle of
/// text that they could falsify.
const HIDDEN: &str = "x\u{1b}[2J\u{7f}\u{9b}\r\n\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}\u{feff}y";
const SHOWN: &str = r"x\u{1b}[2J\u{7f}\u{9b}\r\n\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}\u{feff}y";

fn is_hidden(character: char) -> bool {
    character != '\n' && HIDDEN.contains(character) && !"x[2Jy".contains(character)
}

fn assert_shown(said: &str) {
    assert!(said.contains(SHOWN), "{said:?}");
    assert!(!said.contains(is_hidden), "{said:?}");
}

#[test]
fn usage_errors_hide_nothing() {
    let arguments = [
        HIDDEN.to_owned(),
        format!("--{HIDDEN}"),
        format!("--{HIDDEN}={HIDDEN}"),
        format!("--listen={HIDDEN}"),
        format!("--max-read={HIDDEN}"),
        format!("--timeout={HIDDEN}"),
        format!("--stats=5{HIDDEN}"),
        format!("--log-format={HIDDEN}"),
        format!("--reuse-port={HIDDEN}"),
        format!("--greeting=\\q{HIDDEN}"),
    ];
    for argument in arguments {
        let said = refused(Command::new(BINARY).arg(argument));
        assert_shown(&said);
    }
    for hidden in HIDDEN.chars().filter(|c| is_hidden(*c)) {
        let said = refused(Command::new(BINARY).arg(format!("--greeting=\\{hidden}")));
        assert!(!said.contains(is_hidden), "{said:?}");
    }
    for variable in variables() {
        assert_shown(&refused(
            Command::new(BINARY).env(variable, format!("\\q{HIDDEN}")),
        ));
    }
    // The name of the program is text that others choose, too.
    let mut called = Command::new("bash");
    called.args(["-c", r#"exec -a "$0" "$@""#, HIDDEN, BINARY, "--no-such"]);
    assert!(!refused(&mut called).contains(is_hidden));
}

/// A line of stderr, or of the log, is one line, and shows what it holds.
#[test]
fn lines_hide_nothing() {
    let missing = format!("unix:/nonexistent/{HIDDEN}");
    let formats: &[&str] = if cfg!(feature = "json") {
        &["text", "json"]
    } else {
        &["text"]
    };
    for format in formats {
        let cannot = output(Command::new(BINARY).args(["--log-format", format, "-l", &missing]));
        assert_eq!(cannot.status.code(), Some(1));
        let said = String::from_utf8(cannot.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said:?}");
        assert!(!said.contains(is_hidden), "{said:?}");
        if *format == "text" {
            assert_shown(&said);
        }
        #[cfg(feature = "json")]
        if *format == "json" {
            let last: serde_json::Value =
                serde_json::from_str(said.lines().last().unwrap()).unwrap();
            assert!(last["message"].as_str().unwrap().contains(HIDDEN), "{said}");
        }
    }
    let path = TempPath::new(HIDDEN);
    let address = format!("unix:{}", path.as_str());
    let server = Server::start_listening(1, &["-l", &address]);
    assert_eq!(server.addresses, [address.replace(HIDDEN, SHOWN)]);
}

/// Text that can be neither a level nor a module is not a filter.
#[test]
fn a_filter_of_the_log_that_filters_nothing_is_wrong() {
    for wrong in [
        "☃",
        "info,☃",
        "☃=debug",
        "=debug",
        "in fo",
        "info,hello_echo\u{202e}=debug",
    ] {
        let said = refused(Command::new(BINARY).env("RUST_LOG", wrong));
        assert!(said.starts_with("hello-echo: RUST_LOG="), "{said}");
        assert!(said.contains("neither a level nor"), "{said}");
        assert!(
            said.lines().count() == 1 && !said.contains(is_hidden),
            "{said:?}"
        );
    }
    let said = refused(Command::new(BINARY).env("RUST_LOG", OsStr::from_bytes(b"info\xff")));
    assert!(said.contains("it is not UTF-8"), "{said}");
    for right in [
        "info",
        "WARN,hello_echo::reactor=info",
        "other-crate.x=off,info,/can hold",
    ] {
        let mut command = Command::new(BINARY);
        command.args(["-l", "127.0.0.1:0"]).env("RUST_LOG", right);
        drop(Server::spawn(1, command.stderr(Stdio::null())));
    }
}

#[cfg(feature = "load")]
mod load {
    use super::*;

    const LOAD: &str = env!("CARGO_BIN_EXE_hello-load");

    #[test]
    fn numbers_are_written_alike() {
        let right = "-n 1k -c 1Ki -r 2M --hold 0 --payload 1k-64Ki --seed 1G --source ::1/128 \
                     --fail-if rate<0.5k --fail-if p99.9<=5ms";
        let words = ["hello-load"].into_iter().chain(right.split_whitespace());
        let options = hello_echo::load::cli::parse(words).unwrap().options;
        let plan = &options.plan;
        let read = (plan.exchanges, plan.concurrency, plan.rate);
        assert_eq!(read, (Some(1000), 1024, Some(2_000_000)));

        for option in [
            "-n=",
            "-c=",
            "-r=",
            "--hold=",
            "--payload=",
            "--seed=",
            "--payload=1-",
        ] {
            for wrong in ["+5", "5m", "1.5", "0x10", "5ki"] {
                let said = refused(Command::new(LOAD).arg(format!("{option}{wrong}")));
                assert!(said.contains("such as 1500, 10k, 1M or 64Ki"), "{said}");
            }
        }
        for option in [
            "--duration=5",
            "--timeout=5",
            "--fail-if=p99>5",
            "--timeout=+5s",
        ] {
            let said = refused(Command::new(LOAD).arg(option));
            assert!(said.contains("(ns, us, ms, s, m, h or d)"), "{said}");
        }
        for condition in [
            "rate<==5", "rate<+5", "rate<1e3", "rate<-0", "p-0<1s", "p+5<1s",
        ] {
            let said = refused(Command::new(LOAD).args(["--fail-if", condition]));
            assert!(said.contains("'--fail-if <EXPR>'"), "{said}");
        }
        refused(Command::new(LOAD).arg("--source=127.0.0.0/+8"));
    }

    #[test]
    fn usage_errors_hide_nothing() {
        for option in [
            "",
            "--",
            "-n",
            "--payload=1-",
            "--source=",
            "--fail-if=",
            "--timeout=",
        ] {
            assert_shown(&refused(
                Command::new(LOAD).arg(format!("{option}{HIDDEN}")),
            ));
        }
        refused(Command::new(LOAD).arg(OsStr::from_bytes(b"--seed=\xff")));
    }

    /// Nor does any line, nor any form of a report.
    #[test]
    fn reports_hide_nothing() {
        let (target, page) = (format!("unix:/nonexistent/{HIDDEN}"), TempPath::new("page"));
        let run = |options: &[&str]| {
            let mut command = Command::new(LOAD);
            let Output {
                status,
                stdout,
                stderr,
            } = output(command.args(options).arg(&target));
            assert!(matches!(status.code(), Some(1 | 3)), "{status}");
            [stdout, stderr].map(|said| String::from_utf8(said).unwrap())
        };
        let [report, _] = run(&["-n", "1", "--html", page.as_str()]);
        assert_shown(&report);
        assert_shown(&std::fs::read_to_string(&page.0).unwrap());
        assert_shown(&run(&["--check"])[1]);
        assert_shown(&run(&["-n", "1", "--html", &target])[1]);
        let condition = "p99\u{2028}>\u{2028}1s";
        let [_, complaint] = run(&["-n", "1", "--fail-if", condition]);
        assert!(complaint.contains(r"p99\u{2028}"), "{complaint}");

        let [json, _] = run(&["-n", "1", "--json"]);
        assert!(!json.contains(is_hidden), "{json:?}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["targets"][0], target);
    }
}
