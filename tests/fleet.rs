//! Three processes behind a proxy, with the configurations as they are shipped: each is restarted in
//! turn, and no client sees it.

#![cfg(feature = "load")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "that is how a test fails"
)]
#![allow(clippy::print_stdout, reason = "shown where a test fails")]

mod util;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use util::{
    BINARY, PATIENCE, Peer, Server, TempPath, assert_echoes, assert_greeted, assert_rest, connect,
    connect_unix, counts, have, have_descriptors, payload, signal, skip,
};

const LOAD: &str = env!("CARGO_BIN_EXE_hello-load");

/// Where Debian has them, which is not in everybody's PATH.
const HAPROXY: &str = "/usr/sbin/haproxy";
const NGINX: &str = "/usr/sbin/nginx";

/// What both configurations ask for.
const DESCRIPTORS: u64 = 9000;

#[test]
fn behind_haproxy() {
    if !have(HAPROXY) || !have_descriptors(DESCRIPTORS) {
        return;
    }
    let mut fleet = Fleet::start(1);
    let admin = Admin(TempPath::new("haproxy.sock"));
    let config = include_str!("../packaging/haproxy.cfg");
    let config = replaced(config, "/tmp/hello-echo-haproxy.sock", admin.0.as_str());
    let _proxy = fleet.proxy(&config, |config| {
        let mut haproxy = Command::new(HAPROXY);
        haproxy.arg("-f").arg(config);
        haproxy
    });
    wait_until("HAProxy listens to its administrator", || {
        UnixStream::connect(&admin.0.0).is_ok()
    });
    for name in NAMES {
        admin.wait_until(name, "check_status", "L7OK");
    }
    fleet.assert_passes_all_on();

    let drained = fleet.under_load(|fleet| {
        for (i, name) in NAMES.into_iter().enumerate() {
            admin.set_state(name, "drain");
            admin.wait_until(name, "scur", "0");
            fleet.end(i);
            admin.wait_until(name, "status", "DOWN");
            fleet.begin(i, &[]);
            admin.set_state(name, "ready");
            admin.wait_until(name, "status", "UP");
            fleet.wait_until_it_has_a_share(i);
        }
    });
    let unannounced = fleet.under_load(|fleet| {
        for (i, name) in NAMES.into_iter().enumerate() {
            fleet.end(i);
            fleet.begin(i, &[]);
            fleet.wait_until_it_has_a_share(i);
            admin.wait_until(name, "status", "UP");
        }
    });
    // One that greets otherwise is not up, though it accepts.
    let impostor = fleet.under_load(|fleet| {
        fleet.end(0);
        admin.wait_until(NAMES[0], "status", "DOWN");
        fleet.begin(0, &["--greeting", "hullo\\n"]);
        admin.wait_until(NAMES[0], "check_status", "L7TOUT");
        let line = fleet.end(0);
        assert_eq!(echoed(&line), 0, "{line}");
        fleet.begin(0, &[]);
        admin.wait_until(NAMES[0], "status", "UP");
        fleet.wait_until_it_has_a_share(0);
    });
    let [echoed, left_early, other] = fleet.books();
    assert_all_right(&[drained, unannounced, impostor], echoed);
    println!("{left_early} checks");
    assert!(left_early > 0 && other <= 3 * AT_ONCE, "{other}");
}

/// nginx has no health checks here and is not told of anything.
#[test]
fn behind_nginx() {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if !have(NGINX) || !have_descriptors(DESCRIPTORS) {
        return;
    }
    if !Path::new(MODULE).exists() && !skip("nginx has no stream module") {
        return;
    }
    let mut fleet = Fleet::start(2);
    let pid = TempPath::new("nginx.pid");
    let config = include_str!("../packaging/nginx.conf");
    let config = replaced(config, "/tmp/hello-echo-nginx.pid", pid.as_str());
    let _proxy = fleet.proxy(&config, |config| {
        let mut nginx = Command::new(NGINX);
        nginx.args(["-e", "stderr", "-c"]).arg(config);
        nginx
    });
    fleet.assert_passes_all_on();

    let unannounced = fleet.under_load(|fleet| {
        for i in 0..NAMES.len() {
            fleet.end(i);
            fleet.begin(i, &[]);
            fleet.wait_until_it_has_a_share(i);
        }
    });
    let [echoed, left_early, other] = fleet.books();
    assert_all_right(&[unannounced], echoed);
    assert!(left_early + other <= AT_ONCE, "{left_early} + {other}");
}

/// How many exchanges are under way in a load.
const AT_ONCE: u64 = 32;

/// What HAProxy calls the servers.
const NAMES: [&str; 3] = ["e1", "e2", "e3"];

/// Exchanges of [`Fleet::assert_passes_all_on`].
const POLITE: u64 = 9;

/// Three servers and the proxy's address, all on one port and loopback addresses of their own: a
/// process that comes back finds its port free.
struct Fleet {
    addresses: [SocketAddr; 3],
    front: SocketAddr,
    members: [Option<Member>; 3],
    /// The last lines of those that have ended, and should have had a share.
    lines: Vec<String>,
}

struct Member {
    server: Server,
    log: TempPath,
}

impl Fleet {
    /// On addresses of `net`, which no other test uses.
    fn start(net: u8) -> Self {
        let host = |n| Ipv4Addr::new(127, 0, net, n);
        let free = TcpListener::bind((host(1), 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut fleet = Self {
            addresses: [1, 2, 3].map(|n| (host(n), port).into()),
            front: (host(4), port).into(),
            members: [const { None }; 3],
            lines: vec![],
        };
        (0..3).for_each(|i| fleet.begin(i, &[]));
        fleet
    }

    /// Starts the proxy with the rest of `config` aimed at this fleet, and waits until it listens.
    fn proxy(&self, config: &str, command: impl FnOnce(&Path) -> Command) -> Proxy {
        let mut config = replaced(config, "127.0.0.1:8000", &self.front.to_string());
        for (port, address) in (8001..).zip(self.addresses) {
            config = replaced(&config, &format!("127.0.0.1:{port}"), &address.to_string());
        }
        let [file, log] = ["proxy.conf", "proxy.log"].map(TempPath::new);
        std::fs::write(&file.0, config).unwrap();
        let mut command = command(&file.0);
        let child = Running::start(command.stderr(File::create(&log.0).unwrap()));
        let proxy = Proxy {
            _child: child,
            _file: file,
            log,
        };
        wait_until("the proxy listens", || {
            TcpStream::connect(self.front).is_ok()
        });
        proxy
    }

    fn begin(&mut self, i: usize, options: &[&str]) {
        let log = TempPath::new("member.log");
        let mut command = Command::new(BINARY);
        let address = self.addresses[i].to_string();
        command.args(["--listen", &address]).args(options);
        command.env("RUST_LOG", "info");
        let server = Server::spawn(1, command.stderr(File::create(&log.0).unwrap()));
        self.members[i] = Some(Member { server, log });
    }

    /// A SIGTERM, and the end that follows. Returns its last line.
    fn end(&mut self, i: usize) -> String {
        let Member { server, log } = self.members[i].take().unwrap();
        server.signal("TERM");
        let (status, _) = server.end();
        let said = std::fs::read_to_string(&log.0).unwrap();
        assert_eq!(status.code(), Some(0), "{said}");
        // Neither clients nor health checks are news.
        let news = said.lines().filter(|line| !line.contains("] accepted "));
        assert_eq!(
            news.count(),
            3,
            "two at its start, one at the signal: {said}"
        );
        let line = said.lines().last().unwrap().to_owned();
        println!("{}: {line}", self.addresses[i]);
        self.lines.push(line.clone());
        line
    }

    fn wait_until_it_has_a_share(&self, i: usize) {
        let Member { server, log } = self.members[i].as_ref().unwrap();
        wait_until("it has echoed", || {
            server.signal("USR1");
            let said = std::fs::read_to_string(&log.0).unwrap();
            let line = said.lines().rfind(|line| line.contains("] accepted "));
            line.is_some_and(|line| echoed(line) > 0)
        });
    }

    /// What a server of this protocol promises, it keeps behind a proxy: each of the three has one
    /// client of each kind.
    fn assert_passes_all_on(&self) {
        for seed in 0..3 {
            assert_echoes(connect(self.front), &payload(seed, 700));
            let mut done = connect(self.front);
            assert_greeted(&mut done);
            done.write_all(b"and FIN").unwrap();
            done.half_close();
            assert_rest(&mut done, b"and FIN");
            let mut flooding = connect(self.front);
            assert_greeted(&mut flooding);
            let flood = payload(seed, 1_000_000);
            flooding.write_all(&flood).unwrap();
            flooding.half_close();
            assert_rest_begins(&mut flooding, &flood);
        }
    }

    /// What a load reports that lasts as long as `restarts`.
    fn under_load(&mut self, restarts: impl FnOnce(&mut Self)) -> Value {
        let report = TempPath::new("report.json");
        let mut load = Command::new(LOAD);
        load.args(["-d", "1h", "-c", &AT_ONCE.to_string(), "--json"]);
        load.arg(self.front.to_string()).stderr(Stdio::null());
        let mut load = Running::start(load.stdout(File::create(&report.0).unwrap()));
        (0..3).for_each(|i| self.wait_until_it_has_a_share(i));
        restarts(self);
        load.signal("INT");
        let status = load.end();
        let report = std::fs::read_to_string(&report.0).unwrap();
        println!("{report}");
        assert!(matches!(status.code(), Some(0 | 3)), "{status}");
        serde_json::from_str(&report).unwrap()
    }

    /// Ends all that still run. How many connections all of them have echoed, how many had left
    /// early, and how many ended otherwise.
    fn books(mut self) -> [u64; 3] {
        (0..3).for_each(|i| drop(self.end(i)));
        let mut sums = [0; 3];
        for line in &self.lines {
            for (name, count) in counts(line).into_iter().skip(1) {
                match name {
                    "echoed" => sums[0] += count,
                    "left early" => sums[1] += count,
                    _ => sums[2] += count,
                }
            }
        }
        sums
    }
}

/// The echo of up to 1000 bytes of it, and the end.
fn assert_rest_begins(stream: &mut impl Read, flood: &[u8]) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!((1..=1000).contains(&rest.len()) && flood.starts_with(&rest));
}

/// Nothing was wrong and nothing lost in any of the loads, and what was right was echoed by someone.
fn assert_all_right(reports: &[Value], echoed: u64) {
    let number = |report: &Value, name: &str| report[name].as_u64().unwrap();
    let (mut right, mut given_up) = (POLITE, 0);
    for report in reports {
        assert_eq!(report["wrong"], json!({}), "{report}");
        right += number(report, "right");
        given_up += number(report, "given_up");
    }
    assert!(given_up <= reports.len() as u64 * AT_ONCE, "{given_up}");
    assert!(
        (right..=right + given_up).contains(&echoed),
        "{echoed} echoed, {right} right, {given_up} given up"
    );
}

fn echoed(line: &str) -> u64 {
    let mut counts = counts(line).into_iter();
    counts.find(|(name, _)| *name == "echoed").unwrap().1
}

/// HAProxy's stats socket.
struct Admin(TempPath);

impl Admin {
    fn ask(&self, command: &str) -> String {
        let mut stream = connect_unix(&self.0);
        writeln!(stream, "{command}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn set_state(&self, server: &str, state: &str) {
        let answer = self.ask(&format!("set server echo/{server} state {state}"));
        assert_eq!(answer.trim(), "");
    }

    /// Until this column of `show stat` is so.
    fn wait_until(&self, server: &str, column: &str, expected: &str) {
        wait_until(&format!("{server}'s {column} is {expected}"), || {
            let table = self.ask("show stat");
            let mut rows = table.lines().map(|line| line.split(','));
            let column = rows.next().unwrap().position(|name| name == column);
            let mut rows = rows.map(Iterator::collect::<Vec<_>>);
            let row = rows.find(|row| row[..2] == ["echo", server]).unwrap();
            row[column.unwrap()] == expected
        });
    }
}

/// What it says is shown where a test fails.
struct Proxy {
    _child: Running,
    _file: TempPath,
    log: TempPath,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        println!("{}", std::fs::read_to_string(&self.log.0).unwrap());
    }
}

/// A child that ends with the test, and by a signal that it can catch: nginx has children, too.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    fn signal(&self, name: &str) {
        assert!(signal(&self.0.id().to_string(), name), "kill -{name}");
    }

    fn end(&mut self) -> ExitStatus {
        wait_until("it ends", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.signal("TERM");
            self.end();
        }
    }
}

/// The text with something else in the one place where this is.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to)
}

fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
