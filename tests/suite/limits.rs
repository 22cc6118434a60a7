//! How many clients it can hold, what it says about that, and what becomes of the others.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::util::{
    self, BINARY, PATIENCE, Peer, Server, TempPath, assert_greeted, assert_rest, have,
    have_descriptors, have_strace, payload,
};

/// The binary behind a line of shell, with its log in a file.
fn limited(limit: &str, options: &[&str], log: &TempPath) -> Server {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), BINARY]);
    shell.args(["--listen", "127.0.0.1:0"]).args(options);
    shell
        .env("RUST_LOG", "info")
        .stderr(File::create(&log.0).unwrap());
    Server::spawn(1, &mut shell)
}

fn read(log: &TempPath) -> String {
    std::fs::read_to_string(&log.0).unwrap()
}

/// The descriptors that belong to no client: 16, or more if the tests were started with some that
/// every child inherits. Three were not open yet when it counted them, and it keeps 8 back.
fn own(server: &Server) -> usize {
    (server.descriptors() - 3 + 8).max(16)
}

#[test]
fn the_capacity_line_names_what_binds() {
    let cases = [
        ("ulimit -n 100", "", None),
        ("ulimit -n 100", "--max-connections 4294967295", None),
        ("ulimit -n 100", "--max-connections 50", Some(50)),
        ("true", "--max-connections 1", Some(1)),
        // A soft limit is raised to the hard one.
        ("ulimit -Sn 50; ulimit -Hn 100", "", None),
    ];
    for (limit, options, asked) in cases {
        println!("{limit}, {options}");
        let log = TempPath::new("capacity");
        let options: Vec<&str> = options.split_whitespace().collect();
        let server = limited(limit, &options, &log);
        let line = match asked {
            Some(asked) => format!("can hold {asked} connections, limited by --max-connections\n"),
            None => format!(
                "can hold {} connections, limited by RLIMIT_NOFILE (hard limit 100)\n",
                100 - own(&server)
            ),
        };
        server.assert_serves();
        let said = read(&log);
        assert_eq!(said.matches("can hold ").count(), 1, "{said}");
        assert!(said.contains(&line), "{said}, not {line}");
    }
}

/// It serves with the limit that it has.
#[test]
fn a_limit_that_cannot_be_raised_is_told() {
    if !have_strace() {
        return;
    }
    let (log, trace) = (TempPath::new("limit"), TempPath::new("trace"));
    let start = |fault: &str| {
        // A soft limit that is the hard one need not be raised.
        let script = "ulimit -Sn 99; exec strace -f -qq -o \"$0\" $1 \"$2\" --listen 127.0.0.1:0";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, trace.as_str(), fault, BINARY]);
        let log = File::create(&log.0).unwrap();
        Server::spawn(1, shell.env("RUST_LOG", "warn").stderr(log))
    };
    drop(start("-e trace=prlimit64,setrlimit"));
    let calls = trace.text();
    let raises = |call: &str| call.contains("RLIMIT_NOFILE, {");
    let before = calls.lines().take_while(|call| !raises(call)).count();
    let fault = format!(
        "-e inject=prlimit64,setrlimit:error=EPERM:when={}",
        before + 1
    );
    let server = start(&fault);
    server.assert_serves();
    let said = read(&log);
    let line = "cannot raise the descriptor limit: Operation not permitted (os error 1)\n";
    assert!(said.ends_with(line), "{said}");
}

/// A server that could serve nobody does not look as if it could.
#[test]
fn no_room_for_a_single_client_is_an_error() {
    let mut shell = Command::new("sh");
    let script = "ulimit -n 12; exec \"$0\" --listen 127.0.0.1:0";
    let output = util::output(shell.args(["-c", script, BINARY]));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    let line = "hello-echo: can hold 0 connections, limited by RLIMIT_NOFILE (hard limit 12)";
    assert_eq!(said.lines().last(), Some(line), "{said}");
    assert!(output.stdout.is_empty());
}

/// Clients beyond the limit wait in the backlog, and each is served in its turn, though no new one
/// comes to make an edge. This is no error, and is logged at most once a second.
#[test]
fn clients_beyond_max_connections_wait_for_their_turn() {
    const CLIENTS: usize = 200;
    for most in ["1", "7"] {
        println!("--max-connections {most}");
        let log = TempPath::new("full");
        let server = limited("true", &["--max-connections", most], &log);
        let start = Instant::now();
        let base = server.descriptors();
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
        for (i, mut client) in (1..).zip(clients) {
            assert_greeted(&mut client);
            let held = server.descriptors() - base;
            assert!(
                held <= most.parse().unwrap(),
                "{held} descriptors for clients"
            );
            client.write_all(&payload(i, 500)).unwrap();
            assert_rest(&mut client, &payload(i, 500));
        }
        server.assert_descriptors_return_to(base);
        let said = read(&log);
        let lines = said.matches("the most allowed; others wait").count();
        let seconds = start.elapsed().as_secs() as usize;
        assert!(
            (1..=2 + seconds).contains(&lines),
            "{lines} lines in {seconds} s:\n{said}"
        );
        assert!(!said.contains("cannot accept"), "{said}");
    }
}

/// As many clients as allowed, and none that waits: this is not logged.
#[test]
fn a_full_server_is_logged_only_if_clients_wait() {
    let log = TempPath::new("full");
    let server = limited("true", &["--max-connections", "1"], &log);
    let base = server.descriptors();
    for _ in 0..3 {
        server.assert_serves();
        let start = Instant::now();
        while server.descriptors() != base {
            assert!(start.elapsed() < PATIENCE, "the place is not free again");
        }
    }
    let said = read(&log);
    assert!(!said.contains("others wait"), "{said}");
}

/// Clients that wait at another listener keep nobody from a place.
#[test]
fn every_listener_has_its_turn() {
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    command.args(["--max-connections", "1", "-qq"]);
    let server = Server::spawn(2, &mut command);
    let crowd = (0..20).map(|_| server.connect());
    let mut crowd: Vec<TcpStream> = crowd.collect();
    assert_greeted(&mut crowd[0]);
    let mut lone = util::connect(server.addresses[1].parse().unwrap());
    crowd[0].write_all(b"done").unwrap();
    assert_rest(&mut crowd[0], b"done");
    drop(crowd.remove(0));
    // The place belongs to the single client now, or to one of the crowd, which leaves it at once.
    crowd[0].write_all(b"done").unwrap();
    crowd[0].half_close();
    assert_greeted(&mut lone);
}

/// A limit that is lowered while the server runs makes accept4 fail. When it is raised again, none
/// of our descriptors becomes free, and the client that waits is greeted all the same.
#[test]
fn a_changed_descriptor_limit_ends_nothing() {
    if !have("prlimit") {
        return;
    }
    let log = TempPath::new("prlimit");
    let server = limited("true", &[], &log);
    let mut holder = server.connect();
    assert_greeted(&mut holder);
    let base = server.descriptors();
    set_limit(&server, base);
    let mut waiting = server.connect();
    wait_for(&log, "accepting pauses");
    assert!(
        read(&log).contains("cannot accept: Too many open files"),
        "{}",
        read(&log)
    );
    holder.write_all(b"served meanwhile").unwrap();
    set_limit(&server, base + 10);
    assert_greeted(&mut waiting);
    assert_rest(&mut holder, b"served meanwhile");
    waiting.write_all(b"at last").unwrap();
    assert_rest(&mut waiting, b"at last");
}

fn set_limit(server: &Server, nofile: usize) {
    let pid = server.pid().to_string();
    let nofile = format!("--nofile={nofile}:");
    let mut prlimit = Command::new("prlimit");
    let set = prlimit.args(["--pid", &pid, &nofile]).stderr(Stdio::null());
    assert!(set.status().unwrap().success());
}

fn wait_for(log: &TempPath, line: &str) {
    let start = Instant::now();
    while !read(log).contains(line) {
        assert!(start.elapsed() < PATIENCE, "no {line:?} in {}", read(log));
    }
}

/// Clients that wait while it cannot accept cost it next to nothing, whether it knows when that
/// ends (because one of its clients leaves) or tries now and then.
#[test]
fn a_server_that_cannot_accept_sleeps() {
    const A_WHILE: Duration = Duration::from_secs(2);
    if !have("prlimit") {
        return;
    }
    let full = ["--max-connections", "1"];
    for (options, line) in [(&full[..], "others wait"), (&[], "Too many open files")] {
        println!("{line}");
        let log = TempPath::new("shut");
        let server = limited("true", options, &log);
        assert_greeted(&mut server.connect());
        let mut holder = server.connect();
        assert_greeted(&mut holder);
        if options.is_empty() {
            set_limit(&server, server.descriptors());
        }
        let _waiting: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
        wait_for(&log, line);
        let (before, start) = (cpu_time(&server), Instant::now());
        std::thread::sleep(A_WHILE);
        let (spent, time) = (cpu_time(&server) - before, start.elapsed());
        println!("{spent:?} of CPU time in {time:?}");
        assert!(spent * 50 < time, "2 % or more of a core: {spent:?}");
    }
}

/// The processor time that the server has used so far, for the user and the system, in hundredths
/// of a second (proc(5)).
fn cpu_time(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap(); // from the third field on
    let ticks = fields.split(' ').skip(14 - 3).take(2);
    let ticks = ticks.map(|field| field.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// The memory of the table is asked for before it is promised: a limit on the process's addresses
/// makes the table smaller and does not end the server.
#[test]
fn memory_may_bind_too() {
    if !have_descriptors(10_000) {
        return;
    }
    let log = TempPath::new("memory");
    let server = limited("ulimit -n 10000", &[], &log);
    let size = server.status("VmSize");
    let size: u64 = size.trim_end_matches(" kB").parse().unwrap();
    // The table of 10,000 takes 400 KB of that, and 1 MiB is kept back for everything else.
    let limit = format!("ulimit -n 10000; ulimit -v {}", size + 1024 - 150);
    let server = limited(&limit, &[], &log);
    let half = (10_000 - own(&server)) / 2; // before it has a client
    server.assert_serves();
    let line = format!("can hold {half} connections, limited by memory");
    assert!(read(&log).contains(&line), "{}", read(&log));
}
