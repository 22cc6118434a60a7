//! Three processes behind a proxy, with the configurations as they are shipped. Each is restarted
//! in turn, and no client notices.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::util::{
    self, BINARY, PATIENCE, Peer, Server, TempPath, assert_echoes, assert_greeted, assert_rest,
    connect, connect_unix, counts, have, have_descriptors, output, payload, signal, skip,
};

const LOAD: &str = env!("CARGO_BIN_EXE_hello-load");

/// Debian's folder, which is not in everybody's PATH.
const HAPROXY: &str = "/usr/sbin/haproxy";
const NGINX: &str = "/usr/sbin/nginx";

/// The limit that both configurations need.
const DESCRIPTORS: u64 = 9000;

/// What HAProxy calls the servers.
const NAMES: [&str; 3] = ["e1", "e2", "e3"];

#[test]
fn behind_haproxy() {
    if !have(HAPROXY) || !have_descriptors(DESCRIPTORS) {
        return;
    }
    let mut fleet = Fleet::start(1);
    let admin = Admin(TempPath::new("haproxy.sock"));
    let config = include_str!("../../packaging/haproxy.cfg");
    let config = replaced(config, 1, "/tmp/hello-echo-haproxy.sock", admin.0.as_str());
    let _proxy = fleet.proxy(&config, 1, |config| {
        let mut haproxy = Command::new(HAPROXY);
        haproxy.arg("-f").arg(config);
        haproxy
    });
    wait_until("HAProxy takes commands", || {
        UnixStream::connect(&admin.0.0).is_ok()
    });
    for name in NAMES {
        admin.wait_until(name, "check_status", "L7OK");
    }
    let mut right = fleet.polite_exchanges();

    println!("drained before they are restarted");
    right += fleet.under_load(|fleet| {
        for (i, name) in NAMES.into_iter().enumerate() {
            admin.set_state(name, "drain");
            admin.wait_until(name, "scur", "0");
            fleet.end(i);
            admin.wait_until(name, "status", "DOWN");
            fleet.begin(i, &[]);
            admin.set_state(name, "ready");
            admin.wait_until(name, "status", "UP");
            fleet.wait_for_its_share(i);
        }
    });
    println!("restarted without a word");
    right += fleet.under_load(|fleet| {
        for (i, name) in NAMES.into_iter().enumerate() {
            fleet.end(i);
            fleet.begin(i, &[]);
            fleet.wait_for_its_share(i);
            admin.wait_until(name, "status", "UP");
        }
    });
    println!("one that greets otherwise, which is not up though it accepts");
    // It begins when no client is there. HAProxy may have chosen the old one for a client, and may
    // connect to the new one then.
    fleet.end(0);
    admin.wait_until(NAMES[0], "status", "DOWN");
    fleet.begin(0, &["--greeting", "hullo\\n"]);
    admin.wait_until(NAMES[0], "check_status", "L7TOUT");
    right += fleet.under_load(|fleet| {
        [1, 2].iter().for_each(|i| fleet.wait_for_more(*i));
        let status = admin.column(NAMES[0], "check_status");
        assert!(status.ends_with("L7TOUT"), "{status}"); // with a star while it checks again
        assert_eq!(admin.column(NAMES[0], "status"), "DOWN");
        let line = fleet.end(0);
        assert_eq!(echoed(&line), 0, "{line}");
        fleet.begin(0, &[]);
        admin.wait_until(NAMES[0], "status", "UP");
        fleet.wait_for_its_share(0);
    });

    let [echoed, left_early, otherwise] = fleet.books();
    assert_eq!((echoed, otherwise), (right, 0));
    assert!(left_early > 0, "the checks");
}

/// nginx has no health checks, and nobody tells it anything.
#[test]
fn behind_nginx() {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if !have(NGINX) || !have_descriptors(DESCRIPTORS) {
        return;
    }
    if !Path::new(MODULE).exists() {
        skip("nginx has no stream module; `apt-get install libnginx-mod-stream` brings it");
        return;
    }
    let mut fleet = Fleet::start(2);
    let pid = TempPath::new("nginx.pid");
    let config = include_str!("../../packaging/nginx.conf");
    let config = replaced(config, 1, "/tmp/hello-echo-nginx.pid", pid.as_str());
    let _proxy = fleet.proxy(&config, 2, |config| {
        let mut nginx = Command::new(NGINX);
        nginx.args(["-e", "stderr", "-c"]).arg(config);
        nginx
    });
    let mut right = fleet.polite_exchanges();

    println!("one after the other");
    right += fleet.under_load(|fleet| {
        for i in 0..NAMES.len() {
            fleet.end(i);
            fleet.begin(i, &[]);
            fleet.wait_for_its_share(i);
        }
    });
    println!("all in haste, so that each is marked as failed");
    right += fleet.under_load(|fleet| {
        for i in [0, 1, 2, 0, 1, 2] {
            fleet.end(i);
            fleet.begin(i, &[]);
        }
        (0..NAMES.len()).for_each(|i| fleet.wait_for_its_share(i));
    });

    assert_eq!(fleet.books(), [right, 0, 0]);
}

/// Three servers and the proxy's address, all on one port and each at its own loopback address, so
/// a process that comes back finds its port free.
struct Fleet {
    addresses: [SocketAddr; 3],
    front: SocketAddr,
    members: [Option<Member>; 3],
    /// The last lines of all that have ended.
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
        let port = TcpListener::bind((host(1), 0)).unwrap().local_addr();
        let port = port.unwrap().port();
        let mut fleet = Self {
            addresses: [1, 2, 3].map(|n| (host(n), port).into()),
            front: (host(4), port).into(),
            members: [const { None }; 3],
            lines: vec![],
        };
        (0..3).for_each(|i| fleet.begin(i, &[]));
        fleet
    }

    /// Starts the proxy with `config` changed to this fleet, and waits until it listens. The
    /// configuration names each server so many times.
    fn proxy(&self, config: &str, times: usize, run: impl FnOnce(&Path) -> Command) -> Proxy {
        let mut config = replaced(config, 1, "127.0.0.1:8000", &self.front.to_string());
        for (port, address) in (8001..).zip(self.addresses) {
            let shipped = format!("127.0.0.1:{port}");
            config = replaced(&config, times, &shipped, &address.to_string());
        }
        let [file, log] = ["proxy.conf", "proxy.log"].map(TempPath::new);
        std::fs::write(&file.0, config).unwrap();
        let mut command = run(&file.0);
        command
            .stdin(Stdio::null())
            .stderr(File::create(&log.0).unwrap());
        let child = command.spawn().unwrap();
        let _file = file;
        let proxy = Proxy { child, _file, log };
        let mut first = None;
        wait_until("the proxy listens", || {
            first = TcpStream::connect(self.front).ok();
            first.is_some()
        });
        let first = first.unwrap();
        first.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_echoes(first, b"first");
        proxy
    }

    fn begin(&mut self, i: usize, options: &[&str]) {
        let log = TempPath::new("member.log");
        let mut command = Command::new(BINARY);
        let address = self.addresses[i].to_string();
        // A busy machine may take longer than the default for a FIN, which would count as a
        // lingering cut.
        command.args(["--listen", &address, "--linger", "15s"]);
        command.args(options);
        command.env("RUST_LOG", "info");
        let server = Server::spawn(1, command.stderr(File::create(&log.0).unwrap()));
        self.members[i] = Some(Member { server, log });
    }

    /// A SIGTERM and the end that follows. Returns its last line.
    fn end(&mut self, i: usize) -> String {
        let Member { server, log } = self.members[i].take().unwrap();
        server.signal("TERM");
        let (status, _) = server.end();
        let said = std::fs::read_to_string(&log.0).unwrap();
        assert_eq!(status.code(), Some(0), "{said}");
        // Neither clients nor health checks are logged.
        let news = said.lines().filter(|line| !line.contains("] accepted "));
        assert_eq!(news.count(), 3, "two at first, one at the end: {said}");
        let line = said.lines().last().unwrap().to_owned();
        println!("{}: {line}", self.addresses[i]);
        self.lines.push(line.clone());
        line
    }

    fn wait_for_its_share(&self, i: usize) {
        wait_until("it has a share", || self.echoed(i) > 0);
    }

    fn wait_for_more(&self, i: usize) {
        let before = self.echoed(i);
        wait_until("it has served more", || self.echoed(i) > before);
    }

    /// How many exchanges it has served, by the counters that it logs on SIGUSR1.
    fn echoed(&self, i: usize) -> u64 {
        let Member { server, log } = self.members[i].as_ref().unwrap();
        let books = || -> Vec<String> {
            let said = std::fs::read_to_string(&log.0).unwrap();
            let (whole, _half) = said.rsplit_once('\n').unwrap_or_default();
            let books = whole.lines().filter(|line| line.contains("] accepted "));
            books.map(str::to_owned).collect()
        };
        let before = books().len();
        server.signal("USR1");
        wait_until("it logs its books", || books().len() > before);
        echoed(books().last().unwrap())
    }

    /// The protocol's promises hold behind a proxy, too: it checks each three times. Returns how
    /// many exchanges there were, with the first of all.
    fn polite_exchanges(&self) -> u64 {
        for seed in 0..3 {
            assert_echoes(connect(self.front), &payload(seed, 700));

            let mut done = connect(self.front);
            assert_greeted(&mut done);
            done.write_all(b"and FIN").unwrap();
            done.half_close();
            assert_rest(&mut done, b"and FIN");

            let mut flooding = connect(self.front);
            let flood = payload(seed, 1_000_000);
            assert_greeted(&mut flooding);
            flooding.write_all(&flood).unwrap();
            let mut echo = Vec::new();
            flooding.read_to_end(&mut echo).unwrap();
            assert!((1..=1000).contains(&echo.len()) && flood.starts_with(&echo));
        }
        1 + 3 * 3
    }

    /// Exchanges from before the restarts until after them, none of them wrong, lost or given up.
    /// Returns how many.
    fn under_load(&mut self, restarts: impl FnOnce(&mut Self)) -> u64 {
        let front = self.front.to_string();
        let (under_way, over) = mpsc::channel::<()>();
        let load = std::thread::spawn(move || {
            let mut reports = vec![];
            while over.try_recv() == Err(TryRecvError::Empty) {
                let mut load = Command::new(LOAD);
                load.args("-d 500ms -c 32 --timeout 10s --json".split(' '));
                let output = output(load.arg(&front));
                reports.push(serde_json::from_slice::<Value>(&output.stdout).unwrap());
            }
            reports
        });
        self.wait_for_more(2);
        restarts(self);
        drop(under_way);
        let reports = util::in_time("the load", || load.join().unwrap());
        let sum = |name: &str| -> u64 {
            let numbers = reports.iter().map(|report| report[name].as_u64().unwrap());
            numbers.sum()
        };
        let mut wrong = reports.iter().filter(|report| report["wrong"] != json!({}));
        let (opened, right) = (sum("opened"), sum("right"));
        println!("{right} right of {opened}");
        assert_eq!(wrong.next(), None);
        assert_eq!(right, opened);
        right
    }

    /// Ends all of them. How many connections they echoed, how many left early, and how many ended
    /// otherwise, including the servers that ended before.
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

    /// Waits until this column of `show stat` has this value.
    fn wait_until(&self, server: &str, column: &str, expected: &str) {
        wait_until(&format!("{server}'s {column} is {expected}"), || {
            self.column(server, column) == expected
        });
    }

    fn column(&self, server: &str, column: &str) -> String {
        let table = self.ask("show stat");
        let mut rows = table.lines().map(|line| line.split(','));
        let column = rows.next().unwrap().position(|name| name == column);
        let mut rows = rows.map(Iterator::collect::<Vec<_>>);
        let row = rows.find(|row| row[..2] == ["echo", server]).unwrap();
        row[column.unwrap()].to_owned()
    }
}

/// Ends with the test. If the test fails, its output is shown.
struct Proxy {
    child: Child,
    _file: TempPath,
    log: TempPath,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // By a signal that it can catch, because nginx has children of its own.
        signal(&self.child.id().to_string(), "TERM");
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        println!("{}", std::fs::read_to_string(&self.log.0).unwrap());
    }
}

/// The text with a replacement, in as many places as this occurs.
fn replaced(text: &str, times: usize, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), times, "{from} in {text}");
    text.replace(from, to)
}

fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
