//! What other tests do for seconds, for as long as one likes:
//!
//! `SOAK=1h cargo test --test suite soak:: -- --ignored --nocapture`
//!
//! One server lives as long as the run, and another is replaced again and again, under load. Every round
//! has a seed, which makes its choices and is printed: `SEED=17 SOAK=1s` repeats the choices of one.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hello_echo::load::{Load, Payloads};
use hello_echo::raise_descriptor_limit;
use socket2::{Domain, Socket, Type};

use crate::metrics::{page, samples, watched};
use crate::restarts::activated;
use crate::restarts_under_load::roll;
use crate::util::{
    PATIENCE, Peer, Server, TempPath, assert_echoes, assert_greeted, assert_rest, connect, counts,
    finish, have, load_options, output_within, payload, reset,
};

/// How long a round does things. Then all clients leave, and the books must balance.
const ROUND: Duration = Duration::from_secs(15);

/// Rounds until the server has had as many clients at once as it ever will, and so all its memory.
const WARM_UP: u64 = 4;

/// By how much its memory may still grow: less than a byte for each client of an hour.
const SLACK: usize = 1 << 20;

#[test]
#[ignore = "it takes as long as SOAK says"]
fn it_holds_for_long() {
    let asked = std::env::var("SOAK").unwrap_or("1m".into());
    let length = humantime::parse_duration(&asked).unwrap();
    let any = RandomState::new().hash_one(()) % 1_000_000;
    let seed = std::env::var("SEED").map_or(any, |seed| seed.parse().unwrap());
    raise_descriptor_limit().unwrap();
    let mut soak = Soak::begin();
    let start = Instant::now();
    while start.elapsed() < length {
        soak.play_round(seed + soak.rounds);
        println!("{:?}, {} rounds", start.elapsed(), soak.rounds);
    }
    soak.end();
}

struct Soak {
    rounds: u64,
    choices: Choices,
    /// The server that lives as long as the run: on TCP and a Unix socket, with metrics.
    elder: Server,
    path: TempPath,
    metrics: SocketAddr,
    /// What it must have accepted, and what it had before anybody came.
    opened: u64,
    descriptors: usize,
    memory: usize,
    /// Its clients that stay until the end of the round, or until it has had enough of them.
    crowd: Vec<TcpStream>,
    /// The one that is replaced, and the socket that is passed on.
    younger: Server,
    passed: TcpListener,
    log: TempPath,
    restarts: u64,
}

/// Something that happens, and its name.
type Event = (&'static str, fn(&mut Soak));

const EVENTS: [Event; 9] = [
    ("resets", Soak::resets),
    ("leavers", Soak::leavers),
    ("silence", Soak::silence),
    ("floods", Soak::floods),
    ("a pause", Soak::pause),
    ("a limit", Soak::limit),
    ("hello-load", Soak::hello_load),
    ("a restart", Soak::restart),
    ("a crash", Soak::crash),
];

impl Soak {
    fn begin() -> Self {
        let (path, log) = (TempPath::new("soak.sock"), TempPath::new("soak.log"));
        let unix = format!("unix:{}", path.as_str());
        // A timeout that clients on a busy machine do not miss, and a linger that pauses outlast.
        let options = ["--listen", &unix, "--timeout", "15s", "--linger", "1s"];
        let (elder, metrics) = watched(&options);
        let passed = listener();
        let younger = start_younger(&passed, &log);
        elder.assert_serves();
        Self {
            rounds: 0,
            choices: Choices(0),
            opened: 1,
            descriptors: elder.descriptors(),
            memory: 0,
            elder,
            path,
            metrics,
            crowd: vec![],
            younger,
            passed,
            log,
            restarts: 0,
        }
    }

    fn play_round(&mut self, seed: u64) {
        self.choices = Choices(seed);
        self.rounds += 1;
        print!("seed {seed}:");
        let start = Instant::now();
        let unix = format!("unix:{}", self.path.as_str());
        let targets = [self.elder.addresses[0].clone(), unix];
        let loads = targets.map(|target| self.load(&target));
        let passed = self.passed.local_addr().unwrap().to_string();
        let beside = self.load(&passed);
        while start.elapsed() < ROUND {
            let (name, event) = self.choices.choose(&EVENTS);
            print!(" {name},");
            event(self);
            self.check_books();
        }
        if self.choices.below(10) == 0 {
            print!(" rolling restarts,");
            drop(roll("127.0.0.1:0"));
        }
        self.crowd.clear();
        self.opened += loads.map(|load| load.join().unwrap()).iter().sum::<u64>();
        let beside = beside.join().unwrap();
        println!(" and {beside} exchanges with the one that is replaced");
        self.settle();
    }

    /// Exchanges all through the round, all of which must be right. Returns how many that were.
    fn load(&mut self, target: &str) -> JoinHandle<u64> {
        let mut options = load_options(target, 0, 16);
        options.plan.exchanges = None;
        options.plan.duration = Some(ROUND);
        options.plan.rate = Some(self.choices.choose(&[10, 50, 200]));
        options.payloads = Payloads::new(self.choices.next(), 1, 3000);
        thread::spawn(move || {
            let mut load = Load::new(options).unwrap();
            finish(&mut load);
            load.record().outcomes.opened
        })
    }

    /// All clients have left: it has accepted every one of them, has nothing left of them, and is no
    /// larger than before.
    fn settle(&mut self) {
        let start = Instant::now();
        while self.accepted() != self.opened || self.elder.descriptors() != self.descriptors {
            let (accepted, descriptors) = (self.accepted(), self.elder.descriptors());
            assert!(
                start.elapsed() < PATIENCE,
                "accepted {accepted} of {}, {descriptors} descriptors, not {}",
                self.opened,
                self.descriptors
            );
            thread::sleep(Duration::from_millis(10));
        }
        let memory = self.elder.own_memory();
        println!(
            "all {} clients were accepted; {} descriptors, {memory} bytes, {} restarts",
            self.opened, self.descriptors, self.restarts
        );
        if self.rounds <= WARM_UP {
            self.memory = self.memory.max(memory);
        }
        assert!(memory <= self.memory + SLACK, "it had {}", self.memory);
    }

    fn accepted(&self) -> u64 {
        let page = page(self.metrics);
        samples(&page)["connections_accepted_total"]
    }

    /// Whoever was accepted is open, or was closed for one reason.
    fn check_books(&mut self) {
        self.elder.signal("USR1");
        let page = page(self.metrics);
        let samples = samples(&page);
        let (accepted, mut sum) = (samples["connections_accepted_total"], 0);
        for (name, count) in samples {
            let is_term =
                name == "connections_open" || name.starts_with("connections_closed_total");
            sum += if is_term { count } else { 0 };
        }
        assert_eq!(accepted, sum, "{page}");
        assert!(self.elder.is_running() && self.younger.is_running());
    }

    fn end(mut self) {
        self.elder.signal("TERM");
        assert_eq!(self.elder.end_within(PATIENCE).code(), Some(0));
        self.younger.signal("TERM");
        self.end_younger();
    }
}

/// What happens.
impl Soak {
    fn connect(&mut self) -> TcpStream {
        self.opened += 1;
        self.elder.connect()
    }

    fn resets(&mut self) {
        for _ in 0..self.choices.below(200) {
            let mut stream = self.connect();
            if self.choices.below(2) == 0 {
                assert_greeted(&mut stream);
            }
            let sent = self.choices.choose(&[0, 1, 1000, 5000]);
            stream.write_all(&payload(sent, sent as usize)).unwrap();
            reset(stream);
        }
    }

    fn leavers(&mut self) {
        for _ in 0..self.choices.below(200) {
            let mut stream = self.connect();
            match self.choices.below(4) {
                0 => drop(stream),
                1 => {
                    stream.half_close();
                    assert_greeted(&mut stream);
                    assert_rest(&mut stream, b"");
                }
                2 => {
                    assert_greeted(&mut stream);
                    stream.write_all(b"and FIN").unwrap();
                    stream.half_close();
                    assert_rest(&mut stream, b"and FIN");
                }
                _ => {
                    assert_greeted(&mut stream);
                    stream.write_all(b"unread").unwrap();
                }
            }
        }
    }

    fn silence(&mut self) {
        for _ in 0..self.choices.below(200) {
            let stream = self.connect();
            self.crowd.push(stream);
        }
    }

    fn floods(&mut self) {
        for _ in 0..self.choices.below(16) {
            let mut stream = self.connect();
            stream.set_nonblocking(true).unwrap();
            let chunk = [b'x'; 1 << 16];
            while stream.write(&chunk).is_ok() {}
            self.crowd.push(stream);
        }
    }

    /// So many connect while it serves hardly anybody, for so many milliseconds, and are all served then.
    fn connect_while(&mut self, stays: &[u64], then: impl FnOnce(&Self)) {
        let count = self.choices.below(300);
        let waiting: Vec<_> = (0..count).map(|_| self.connect()).collect();
        let stays = self.choices.choose(stays);
        thread::sleep(Duration::from_millis(stays));
        then(self);
        for (stream, seed) in waiting.into_iter().zip(0..) {
            assert_echoes(stream, &payload(seed, 1 + seed as usize));
        }
    }

    fn pause(&mut self) {
        self.elder.signal("STOP");
        self.connect_while(&[1, 100, 1000, 4500], |soak| soak.elder.signal("CONT"));
    }

    /// It may have hardly more descriptors than it has at this moment.
    fn limit(&mut self) {
        if !have("prlimit") {
            return;
        }
        let pid = self.elder.pid().to_string();
        let set = |limit: &str| {
            let limit = format!("--nofile={limit}");
            let command = &mut Command::new("prlimit");
            let output = output_within(PATIENCE, command.args(["--pid", &pid, &limit]));
            assert!(output.status.success(), "{output:?}");
        };
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let before = line.unwrap().split_whitespace().nth(3).unwrap();
        set(&format!(
            "{}:",
            self.elder.descriptors() as u64 + self.choices.below(8)
        ));
        self.connect_while(&[1, 100, 1000], |_| set(&format!("{before}:")));
    }

    fn hello_load(&mut self) {
        let kinds: [&[&str]; 4] = [
            &["-n", "500", "-c", "50"],
            &["-n", "200", "-r", "200"],
            &["-n", "100", "--hold", "200", "-c", "10"],
            &["--check"],
        ];
        let kind = self.choices.choose(&kinds);
        let unix = format!("unix:{}", self.path.as_str());
        let mut command = Command::new(env!("CARGO_BIN_EXE_hello-load"));
        command.args(kind).args(["--payload", "1-2000"]);
        let output = output_within(PATIENCE, command.args([&self.elder.addresses[0], &unix]));
        assert!(output.status.success(), "{output:?}");
        self.opened += match kind {
            ["--check"] => 2,
            [_, count, "--hold", held, ..] => {
                count.parse::<u64>().unwrap() + held.parse::<u64>().unwrap()
            }
            [_, count, ..] => count.parse().unwrap(),
            _ => unreachable!(),
        };
    }

    /// The next begins before the last has ended, or when it has.
    fn restart(&mut self) {
        self.restarts += 1;
        self.younger.signal("TERM");
        if self.choices.below(2) == 0 {
            self.end_younger();
            self.younger = start_younger(&self.passed, &self.log);
        } else {
            let next = start_younger(&self.passed, &self.log);
            let mut last = std::mem::replace(&mut self.younger, next);
            assert_eq!(last.end_within(PATIENCE).code(), Some(0));
        }
    }

    fn end_younger(&mut self) {
        assert_eq!(self.younger.end_within(PATIENCE).code(), Some(0));
        let log = self.log.text();
        counts(log.lines().last().unwrap()); // are an equation
    }

    /// A server that is killed loses the clients that it has accepted, and none of those in the queue. It is
    /// one of its own, as the load beside it must lose nobody.
    fn crash(&mut self) {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let mut victim = start_younger(&listener, &self.log);
        victim.assert_serves();
        victim.signal("STOP");
        let waiting: Vec<_> = (0..self.choices.below(100))
            .map(|_| connect(address))
            .collect();
        victim.signal("KILL");
        victim.end_within(PATIENCE);
        let mut next = start_younger(&listener, &self.log);
        for (stream, seed) in waiting.into_iter().zip(0..) {
            assert_echoes(stream, &payload(seed, 700));
        }
        next.signal("TERM");
        assert_eq!(next.end_within(PATIENCE).code(), Some(0));
    }
}

/// With room for as many as a server's own. The standard library's has room for 128: beyond that, the
/// kernel sends SYN cookies, and forgets clients that believe they are connected.
fn listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&address.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

fn start_younger(listener: &TcpListener, log: &TempPath) -> Server {
    let spare = TcpListener::bind("127.0.0.1:0").unwrap();
    Server::spawn_with(2, &mut activated(listener.try_clone().unwrap(), spare, log))
}

/// splitmix64.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
