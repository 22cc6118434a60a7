//! The command line, as a user or a script meets it.

use std::io::Write;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::process::{Command, Output};

use hello_echo::Config;
use hello_echo::hello::{Hello, MAX_MESSAGE, Settings};

use crate::util::{
    BINARY, Server, TempPath, assert_echoes, assert_greeted, assert_rest, connect, connect_unix,
    have, output, own_host, skip,
};

/// Runs it with a line of options that keeps it from serving.
fn run(options: &[&str]) -> Output {
    output(Command::new(BINARY).args(options).env("RUST_LOG", "off"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Expects exit code 1 and only this line on stderr.
pub(crate) fn assert_cannot_run(options: &[&str], line: &str) {
    let output = run(options);
    assert_eq!(output.status.code(), Some(1), "{options:?}");
    assert_eq!(
        text(&output.stderr),
        format!("hello-echo: {line}\n"),
        "{options:?}"
    );
    assert_eq!(text(&output.stdout), "", "{options:?}");
}

#[test]
fn help_and_version_go_to_stdout() {
    for option in ["-h", "--help"] {
        let help = run(&[option]);
        assert!(help.status.success() && help.stderr.is_empty());
        assert!(text(&help.stdout).contains("Usage: hello-echo [OPTIONS]"));
    }
    for option in ["-V", "--version"] {
        let version = run(&[option]);
        assert!(version.status.success() && version.stderr.is_empty());
        let expected = format!("hello-echo {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(text(&version.stdout), expected);
    }
}

#[test]
fn wrong_usage_is_2_and_names_the_fault() {
    let cases = [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["--max-read", "0"], "0 is not in 1..=1048576"),
        (&["--linger", "soon"], "--linger <DURATION>"),
        (&["--listen", "8000"], "expected HOST:PORT"),
        (&["--greeting", r"\q"], r"unknown escape \q"),
        (&["stray"], "stray"),
    ];
    for (options, names) in cases {
        let output = run(options);
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(
            text(&output.stderr).contains(names),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stdout), "", "{options:?}");
    }
}

#[test]
fn an_error_at_the_start_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = format!("cannot listen on {address}: Address already in use (os error 98)");
    assert_cannot_run(&["-l", &address], &in_use);
    assert_cannot_run(&["-l", "127.0.0.1:0", "-l", &address], &in_use);
    assert_cannot_run(&["-qqq", "-l", &address], &in_use);
    assert_cannot_run(
        &["-l", "192.0.2.1:8000"],
        "cannot listen on 192.0.2.1:8000: Cannot assign requested address (os error 99)",
    );
    assert_cannot_run(
        &["-l", "unix:/nonexistent/hello.sock"],
        "cannot listen on unix:/nonexistent/hello.sock: No such file or directory (os error 2)",
    );
    let long = format!("unix:/tmp/{}", "a".repeat(108));
    assert_cannot_run(
        &["-l", &long],
        &format!("cannot listen on {long}: path must be shorter than SUN_LEN"),
    );
}

#[test]
fn every_listener_has_its_line_and_serves() {
    let path = TempPath::new("with,comma.sock");
    let unix = format!("unix:{}", path.as_str());
    let options = ["-l", "127.0.0.1:0", "--listen", &unix, "-l", "127.0.0.2:0"];
    let server = Server::start_listening(3, &options);
    let [first, second, third] = &server.addresses[..] else {
        panic!("{:?}", server.addresses)
    };
    assert!(first.starts_with("127.0.0.1:") && third.starts_with("127.0.0.2:"));
    assert!(
        !first.ends_with(":0") && !third.ends_with(":0"),
        "the real ports"
    );
    assert_eq!(second, &unix);
    assert_echoes(connect(first.parse().unwrap()), b"one");
    assert_echoes(connect_unix(&path), b"two");
    assert_echoes(connect(third.parse().unwrap()), b"three");
}

#[test]
fn a_name_is_resolved_and_any_interface_is_an_address() {
    let any = Server::start_listening(1, &["-l", "0.0.0.0:0"]);
    let port = any.address().port();
    for host in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        assert_echoes(connect((host, port).into()), b"any");
    }
    let server = Server::start_listening(1, &["-l", "localhost:0"]);
    assert_echoes(connect(server.address()), b"by name");
}

#[test]
fn ipv6_and_dual_stack() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        skip("there is no IPv6 here");
        return;
    }
    let v6 = Server::start_listening(1, &["-l", "[::1]:0"]);
    assert!(v6.addresses[0].starts_with("[::1]:"));
    assert_echoes(v6.connect(), b"six");
    let port = v6.address().port();
    assert!(
        TcpStream::connect((own_host(), port)).is_err(),
        "[::1] is IPv6 only"
    );

    let dual = Server::start_listening(1, &["-l", "[::]:0"]);
    let port = dual.address().port();
    for host in ["::1", "127.0.0.1"] {
        assert_echoes(
            connect((host.parse::<std::net::IpAddr>().unwrap(), port).into()),
            b"both",
        );
    }
}

/// A flag comes before the environment, and the environment before the default.
#[test]
fn the_environment_stands_between_flag_and_default() {
    let start = |options: &[&str]| {
        let mut command = Command::new(BINARY);
        command.env("HELLO_ECHO_LISTEN", "127.0.0.1:0,127.0.0.2:0");
        command.env("HELLO_ECHO_GREETING", r"from the environment\n");
        command.env("HELLO_ECHO_MAX_READ", "3");
        command
            .env("HELLO_ECHO_LINGER", "1s")
            .env("HELLO_ECHO_BACKLOG", "7");
        Server::spawn(
            if options.is_empty() { 2 } else { 1 },
            command.args(options),
        )
    };
    let check = |server: &Server, expected: &[u8]| {
        let mut client = server.connect();
        client.write_all(b"message").unwrap();
        assert_rest(&mut client, expected);
    };
    let server = start(&[]);
    assert!(server.addresses[1].starts_with("127.0.0.2:"));
    check(&server, b"from the environment\nmes");
    let server = start(&["--listen", "127.0.0.3:0", "--greeting", "by flag,"]);
    assert!(server.addresses[0].starts_with("127.0.0.3:"));
    check(&server, b"by flag,mes");

    // An option does not replace a wrong value, which is an error in any case.
    for (variable, value, names) in [
        (
            "HELLO_ECHO_BACKLOG",
            "many",
            "'many' for 'HELLO_ECHO_BACKLOG'",
        ),
        (
            "HELLO_ECHO_LISTEN",
            "127.0.0.1:0,8000",
            "'8000' for 'HELLO_ECHO_LISTEN'",
        ),
    ] {
        let output = output(Command::new(BINARY).env(variable, value));
        assert_eq!(output.status.code(), Some(2), "{variable}={value}");
        assert!(
            text(&output.stderr).contains(names),
            "{}",
            text(&output.stderr)
        );
    }
    let mut overruled = Command::new(BINARY);
    overruled
        .args(["-l", "127.0.0.1:0"])
        .env("HELLO_ECHO_LISTEN", "8000");
    assert_echoes(Server::spawn(1, &mut overruled).connect(), b"overruled");
}

#[test]
fn a_wrong_filter_of_the_log_is_wrong_usage() {
    let output = output(Command::new(BINARY).env("RUST_LOG", "a=b=c"));
    assert_eq!(output.status.code(), Some(2));
    let line = "hello-echo: RUST_LOG=a=b=c: ";
    let said = text(&output.stderr);
    assert!(
        said.starts_with(line) && said.lines().count() == 1,
        "{said}"
    );
}

/// The Send-Q of a listener, as `ss` shows it, is the backlog that the kernel uses.
#[test]
fn the_backlog_reaches_the_kernel() {
    if !have("ss") {
        return;
    }
    for backlog in ["1", "99", "128"] {
        let server = Server::start(&["--backlog", backlog]);
        let filter = format!("sport = :{}", server.address().port());
        let output = Command::new("ss")
            .args(["-Hltn", &filter])
            .output()
            .unwrap();
        let columns: Vec<&str> = text(&output.stdout).split_whitespace().collect();
        assert_eq!(columns[2], backlog, "{columns:?}");
    }
}

#[test]
fn a_clamped_backlog_is_said() {
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let line = format!("backlog {} instead of 2147483647", somaxconn.trim());
    let log = log_of(&["--backlog", "2147483647"], |_| {});
    assert!(log.contains(&line), "{log}");
}

/// Starts it with these options, calls `visit` with it, and returns its log.
fn log_of(options: &[&str], visit: impl Fn(&Server)) -> String {
    let path = TempPath::new("log");
    let mut command = Command::new(BINARY);
    command.args(["-l", "127.0.0.1:0"]).args(options);
    let server = Server::spawn(1, command.stderr(std::fs::File::create(&path.0).unwrap()));
    visit(&server);
    std::fs::read_to_string(&path.0).unwrap()
}

/// Connections are logged at debug, so a probe that connects and goes leaves no line otherwise. The
/// bytes of a client are never logged.
#[test]
fn the_log_is_as_loud_as_asked() {
    let visit = |server: &Server| {
        let base = server.descriptors();
        assert_echoes(server.connect(), b"secret");
        let mut probe = server.connect();
        assert_greeted(&mut probe); // or its close would be a reset: the greeting would be unread
        drop(probe);
        server.assert_descriptors_return_to(base);
    };
    let debug = log_of(&["-v"], visit);
    assert!(
        debug.contains("accepted from 127.0.0.1:") && debug.contains("echoed"),
        "{debug}"
    );
    assert!(debug.contains("left early"), "{debug}");
    assert!(!debug.contains("secret"), "{debug}");
    assert_eq!(log_of(&["-q"], visit), "");

    let mut info = Command::new(BINARY);
    info.args(["-l", "127.0.0.1:0"])
        .env("RUST_LOG", "hello_echo=info");
    let path = TempPath::new("info");
    let server = Server::spawn(1, info.stderr(std::fs::File::create(&path.0).unwrap()));
    let before = std::fs::read_to_string(&path.0).unwrap();
    assert!(before.contains("backlog"), "{before}");
    let (time, rest) = before.split_at("[2026-11-28T03:32:27Z".len());
    assert!(time.starts_with('[') && time.ends_with('Z'), "{before}");
    assert!(rest.starts_with(" INFO  hello_echo::"), "{before}");
    visit(&server);
    assert_eq!(
        std::fs::read_to_string(&path.0).unwrap(),
        before,
        "nothing of the connections"
    );
}

/// The port is free again as soon as the server is gone, whether or not connections are in
/// TIME_WAIT.
#[test]
fn a_restart_takes_the_port_again() {
    let first = Server::start_listening(1, &["-l", &format!("{}:0", own_host())]);
    let address = first.address().to_string();
    let mut client = first.connect();
    assert_greeted(&mut client);
    client.write_all(b"first").unwrap();
    assert_rest(&mut client, b"first");
    drop(client);
    drop(first);
    let second = Server::start_listening(1, &["-l", &address]);
    assert_echoes(second.connect(), b"second");
}

/// The command line has the limits of the library.
#[test]
fn settings_outside_their_limits_are_refused() {
    let refused: [fn(&mut Config, &mut Settings); 6] = [
        |c, _| c.listen.clear(),
        |_, h| h.greeting = vec![0; MAX_MESSAGE + 1],
        |_, h| h.max_read = 0,
        |_, h| h.max_read = MAX_MESSAGE + 1,
        |c, _| c.backlog = 0,
        |c, _| c.backlog = 1 << 31,
    ];
    for spoil in refused {
        let (mut config, mut hello) = (Config::default(), Settings::default());
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        assert!(hello_echo::Server::<Hello>::bind(&config, hello.clone()).is_ok());
        spoil(&mut config, &mut hello);
        let error = hello_echo::Server::<Hello>::bind(&config, hello).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
}
