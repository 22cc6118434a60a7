//! What a connection costs, beside the peers: CPU time per exchange, and memory while it is silent.
//!
//! `cargo bench --bench peers` measures, prints a table, and draws `benches/charts/*.svg`; with
//! `-- --draw` it draws what was measured last.
//!
//! The CPU time is the server's own, in all its threads, as the scheduler counts it: it repeats
//! where rates do not, because client and server have a core each, and neither waits in it. In a
//! round every server is a new process, and they have their turns in short slices, so each is
//! compared with the others of the same seconds. Even so the client, on its own core, has a say: it
//! decides how many events a wake-up of the server's brings, and a slow server has more of them.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that meets an error has no figure to give"
)]

#[path = "peers/mod.rs"]
mod peers;
#[path = "../tests/util/mod.rs"]
mod util;

use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};

use peers::chart::{Bar, Chart, draw, grouped};
use peers::{BASE, Cores, Crowd, PEERS, Peer, Spread};
use serde_json::{Value, json};
use util::Server;

/// Rounds of new servers: of them all for the CPU time, of one kind for the memory.
const ROUNDS: usize = 9;
const HELD_ROUNDS: usize = 3;

/// How each server's exchanges of a round are had.
struct Slices {
    at_once: u64,
    exchanges: u64,
    count: usize,
}

const CPU: [Slices; 2] = [
    Slices {
        at_once: 64,
        exchanges: 1_000,
        count: 10,
    },
    Slices {
        at_once: 1,
        exchanges: 100,
        count: 20,
    },
];

/// What the names in the charts do not say.
const CLOSES: &str = "Where the name does not say otherwise, a server closes when the client's FIN is here, or 2 s after its own.";

fn main() {
    peers::begin();
    if !std::env::args().any(|argument| argument == "--draw") {
        let report = Report::measure();
        std::fs::write(data(), format!("{:#}\n", report.to_json())).unwrap();
    }
    let stored = std::fs::read_to_string(data())
        .map_err(|e| format!("nothing was measured yet: {}: {e}", data().display()));
    let report = Report::from_json(&serde_json::from_str(&stored.unwrap()).unwrap());
    report.print();
    report.draw();
}

/// Where the figures are kept: beside the build.
fn data() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers.json")
}

/// What was measured.
struct Report {
    machine: String,
    /// Whose CPU time the ratios are to.
    base: String,
    rows: Vec<Row>,
}

/// What was measured of one peer; `None` is what it was not measured with.
struct Row {
    name: String,
    is_ours: bool,
    /// CPU time per exchange in microseconds and its ratio to the base's, as in [`CPU`].
    cpu: [Option<[Spread; 2]>; 2],
    /// Bytes per silent connection, of so many.
    memory: Option<Spread>,
    holds: u64,
}

impl Report {
    fn measure() -> Self {
        let cores = Cores::take();
        let rounds: Vec<Round> = (1..=ROUNDS)
            .map(|round| measure_cpu(round, &cores))
            .collect();
        let has = |peer: &Peer| {
            rounds[0][0]
                .iter()
                .any(|(measured, _)| *measured == peer.name)
        };
        // Without a C compiler they are compared with ours.
        let base = if has(base_peer()) {
            base_peer()
        } else {
            &PEERS[0]
        };
        let row = |peer: &Peer| Row {
            name: peer.name.to_owned(),
            is_ours: peer.is_ours(),
            cpu: [0, 1].map(|i| spreads(&rounds, i, peer, base)),
            memory: measure_memory(peer, &cores),
            holds: peer.holds,
        };
        Self {
            machine: peers::machine(),
            base: base.name.to_owned(),
            rows: PEERS.iter().map(row).collect(),
        }
    }

    fn print(&self) {
        let mut out = stdout().lock();
        let [many, one] = CPU.map(|slices| {
            let count = slices.exchanges * slices.count as u64;
            format!("{count} exchanges at {} at once", slices.at_once)
        });
        let (machine, base) = (&self.machine, &self.base);
        let about = format!(
            "{machine}\n\
             {ROUNDS} rounds of {many} and {one}, 1000 bytes each; \
             {HELD_ROUNDS} servers with silent connections.\n\
             Each figure: median (least-most). Ratios are to \"{base}\" in the same round.\n"
        );
        let columns = ["CPU us, 64", "ratio", "CPU us, 1", "ratio", "bytes, silent"];
        let heads: String = columns.iter().map(|head| format!("{head:>20}")).collect();
        writeln!(out, "\n{about}\n{:28}{heads}", "").unwrap();
        for row in &self.rows {
            writeln!(out, "{:28}{}", row.name, row.cells()).unwrap();
        }
    }

    fn draw(&self) {
        let (machine, base) = (&self.machine, &self.base);
        let cpu = Chart {
            title: "CPU time of the server per exchange of 1000 bytes, 64 at once",
            axis: &format!("times that of \"{base}\""),
            digits: 2,
            caption: [
                CLOSES,
                &format!("Medians of {ROUNDS} rounds, least to most. {machine}."),
            ],
            bars: self.rows.iter().filter_map(Row::cpu_bar).collect(),
        };
        let memory = Chart {
            title: "Memory of the server per silent connection, 10,000 held",
            axis: "bytes of its own (RssAnon), without the kernel's part",
            digits: 0,
            caption: [
                CLOSES,
                &format!("Medians of {HELD_ROUNDS} servers, least to most. {machine}."),
            ],
            bars: self.rows.iter().filter_map(Row::memory_bar).collect(),
        };
        let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/charts");
        std::fs::create_dir_all(&charts).unwrap();
        draw(&charts.join("cpu.svg"), &cpu);
        draw(&charts.join("memory.svg"), &memory);
    }

    fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        json!({ "machine": self.machine, "base": self.base, "rows": rows })
    }

    fn from_json(value: &Value) -> Self {
        let rows = value["rows"].as_array().unwrap();
        Self {
            machine: value["machine"].as_str().unwrap().to_owned(),
            base: value["base"].as_str().unwrap().to_owned(),
            rows: rows.iter().map(Row::from_json).collect(),
        }
    }
}

impl Row {
    fn cells(&self) -> String {
        let cell = |value: Option<Spread>, digits| match value {
            Some(value) => format!("{value:>20.digits$}"),
            None => format!("{:>20}", "-"),
        };
        let cpu = self.cpu.map(|cpu| {
            let [value, ratio] = [0, 1].map(|i| cpu.map(|cpu| cpu[i]));
            cell(value, 1) + &cell(ratio, 2)
        });
        let memory = cell(self.memory, 0);
        match self.holds {
            0 | 10_000 => cpu.concat() + &memory,
            holds => format!("{}{memory} of {holds}", cpu.concat()),
        }
    }

    /// The ratio is drawn: what the machine does to all of them in a round is not in it.
    fn cpu_bar(&self) -> Option<Bar<'_>> {
        let [cost, ratio] = self.cpu[0]?;
        Some(self.bar(ratio, format!("  ({:.1} \u{b5}s)", cost.median)))
    }

    fn memory_bar(&self) -> Option<Bar<'_>> {
        let note = match self.holds {
            10_000 => " B".to_owned(),
            holds => format!(" B ({} held)", grouped(holds as f64, 0)),
        };
        Some(self.bar(self.memory?, note))
    }

    fn bar(&self, value: Spread, note: String) -> Bar<'_> {
        Bar {
            name: &self.name,
            value,
            note,
            is_ours: self.is_ours,
        }
    }

    fn to_json(&self) -> Value {
        let spread = |value: Spread| json!([value.least, value.median, value.most]);
        json!({
            "name": self.name,
            "is_ours": self.is_ours,
            "cpu": self.cpu.map(|cpu| cpu.map(|both| both.map(spread))),
            "memory": self.memory.map(spread),
            "holds": self.holds,
        })
    }

    fn from_json(value: &Value) -> Self {
        let spread = |value: &Value| Spread {
            least: value[0].as_f64().unwrap(),
            median: value[1].as_f64().unwrap(),
            most: value[2].as_f64().unwrap(),
        };
        let is_there = |value: &&Value| !value.is_null();
        let cpu = [0, 1].map(|i| {
            let both = Some(&value["cpu"][i]).filter(is_there)?;
            Some([spread(&both[0]), spread(&both[1])])
        });
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            is_ours: value["is_ours"].as_bool().unwrap(),
            cpu,
            memory: Some(&value["memory"]).filter(is_there).map(spread),
            holds: value["holds"].as_u64().unwrap(),
        }
    }
}

/// The cost of an exchange with each peer by name, for each of [`CPU`].
type Round = [Vec<(&'static str, f64)>; 2];

fn measure_cpu(round: usize, cores: &Cores) -> Round {
    say(&format!("CPU time, round {round} of {ROUNDS}"));
    let started = PEERS.iter().map(|peer| Some((peer, peer.start(cores)?)));
    let started: Vec<(&Peer, Server)> = started.flatten().collect();
    CPU.map(|slices| {
        let mut able = started.iter().collect::<Vec<_>>();
        able.retain(|(peer, _)| peer.serves_at_once >= slices.at_once);
        let servers: Vec<&Server> = able.iter().map(|(_, server)| server).collect();
        let costs = peers::costs(&servers, slices.at_once, slices.exchanges, slices.count);
        let names = able.iter().map(|(peer, _)| peer.name);
        names.zip(costs).collect()
    })
}

/// The cost of an exchange, and its ratio to the base's in the same round, if it was measured.
fn spreads(rounds: &[Round], i: usize, peer: &Peer, base: &Peer) -> Option<[Spread; 2]> {
    let cost = |round: &Round, peer: &Peer| {
        let (_, cost) = round[i].iter().find(|(name, _)| *name == peer.name)?;
        Some(*cost)
    };
    let costs = rounds.iter().map(|round| cost(round, peer));
    let ratios = rounds
        .iter()
        .map(|round| Some(cost(round, peer)? / cost(round, base)?));
    let [costs, ratios]: [Option<Vec<f64>>; 2] = [costs.collect(), ratios.collect()];
    Some([Spread::of(&costs?), Spread::of(&ratios?)])
}

fn base_peer() -> &'static Peer {
    PEERS.iter().find(|peer| peer.name == BASE).unwrap()
}

/// Bytes of the server's own memory for each silent connection. A server that has held them once
/// has the memory for the next ones, so each time it is another.
fn measure_memory(peer: &Peer, cores: &Cores) -> Option<Spread> {
    if peer.holds == 0 {
        return None;
    }
    say(&format!("{} connections to {}", peer.holds, peer.name));
    let grown = (0..HELD_ROUNDS).map(|_| {
        let server = peer.start(cores)?;
        let before = server.own_memory();
        let crowd = Crowd::gather(&server, peer.holds);
        let grown = server.own_memory().saturating_sub(before);
        crowd.leave();
        Some(grown as f64 / peer.holds as f64)
    });
    let grown: Option<Vec<f64>> = grown.collect();
    Some(Spread::of(&grown?))
}

fn say(what: &str) {
    let _ = writeln!(stderr(), "{what}");
}
