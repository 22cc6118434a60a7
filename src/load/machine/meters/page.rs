//! The meters as Prometheus reads them (text format 0.0.4).

use std::fmt::{self, Write};
use std::sync::Arc;

use super::{BOUNDS, Count, Meter, Meters, Times};
use crate::load::machine::exchange::Phase;
use crate::load::machine::record::Shortage;

/// The page, of the meters of all threads, which have the same targets. What one of them counts while the page is made may
/// be missing from it.
pub(crate) fn page(threads: &[Arc<Meters>]) -> String {
    let mut page = String::new();
    let _ = write(&mut page, &All(threads)); // a String takes everything
    page
}

struct All<'a>(&'a [Arc<Meters>]);

impl<'a> All<'a> {
    fn sum(&self, count: impl Fn(&Meters) -> &Count) -> u64 {
        self.0.iter().map(|meters| count(meters).get()).sum()
    }

    /// The labels of each target, and its meters in every thread.
    fn targets(&self) -> impl Iterator<Item = (String, Vec<&'a Meter>)> {
        let threads = self.0;
        let targets = threads.first().map_or(0, |meters| meters.targets.len());
        (0..targets).map(move |target| {
            let meters = threads.iter().map(|meters| &meters.targets[target]);
            let meters: Vec<&Meter> = meters.collect();
            (format!("target=\"{}\"", escape(&meters[0].target)), meters)
        })
    }
}

fn write(page: &mut String, all: &All<'_>) -> fmt::Result {
    head(
        page,
        "connections_open",
        "gauge",
        "Connections that are open.",
    )?;
    for (target, meters) in all.targets() {
        let open = sum(&meters, |meter| &meter.open);
        writeln!(page, "hello_load_connections_open{{{target}}} {open}")?;
    }
    let help = "Exchanges that ended, by what became of them: right, or what was wrong.";
    head(page, "exchanges_total", "counter", help)?;
    for (target, meters) in all.targets() {
        let right = sum(&meters, |meter| &meter.right);
        let name = format!("hello_load_exchanges_total{{{target},outcome=");
        writeln!(page, "{name}\"right\"}} {right}")?;
        for (i, (fault, _)) in meters[0].wrong.iter().enumerate() {
            let wrong = sum(&meters, |meter| &meter.wrong[i].1);
            writeln!(page, "{name}\"{fault}\"}} {wrong}")?;
        }
    }
    let help = "How long right exchanges took that were not held, from when each was due.";
    head(page, "exchange_duration_seconds", "histogram", help)?;
    for (target, meters) in all.targets() {
        let times: Vec<&Times> = meters.iter().map(|meter| &meter.whole).collect();
        histogram(page, "exchange_duration_seconds", &target, &times)?;
    }
    let help = "How long the phases of exchanges took that were not held.";
    head(page, "phase_duration_seconds", "histogram", help)?;
    for (target, meters) in all.targets() {
        for phase in Phase::ALL {
            let labels = format!("{target},phase=\"{}\"", phase.name());
            let times = meters.iter().map(|meter| &meter.phases[phase as usize]);
            let times: Vec<&Times> = times.collect();
            histogram(page, "phase_duration_seconds", &labels, &times)?;
        }
    }
    own(page, all)
}

/// How the load client itself does.
fn own(page: &mut String, all: &All<'_>) -> fmt::Result {
    let help = "The longest time by which a connection began late.";
    head(page, "latest_begin_seconds", "gauge", help)?;
    let latest = all.0.iter().map(|meters| meters.latest.get()).max();
    let latest = Seconds(latest.unwrap_or(0));
    writeln!(page, "hello_load_latest_begin_seconds {latest}")?;
    let help = "Connections that began more than 100 ms late.";
    head(page, "late_begins_total", "counter", help)?;
    let late = all.sum(|meters| &meters.late);
    writeln!(page, "hello_load_late_begins_total {late}")?;
    let help = "Exchanges that are due and have not begun: missed, if the run ended now.";
    head(page, "exchanges_overdue", "gauge", help)?;
    let overdue = all.sum(|meters| &meters.overdue);
    writeln!(page, "hello_load_exchanges_overdue {overdue}")?;
    let help = "How long the load client was stopped, or got no processor.";
    head(page, "stood_still_seconds_total", "counter", help)?;
    let stood_still = Seconds(all.sum(|meters| &meters.stood_still));
    writeln!(page, "hello_load_stood_still_seconds_total {stood_still}")?;
    let help = "How long nothing could be opened, by what was short.";
    head(page, "waited_seconds_total", "counter", help)?;
    for shortage in Shortage::ALL {
        let waited = Seconds(all.sum(|meters| &meters.waited[shortage as usize]));
        let name = shortage.name();
        writeln!(
            page,
            "hello_load_waited_seconds_total{{shortage=\"{name}\"}} {waited}"
        )?;
    }
    head(
        page,
        "build_info",
        "gauge",
        "The version that runs; always 1.",
    )?;
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, "hello_load_build_info{{version=\"{version}\"}} 1")
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(page, "# HELP hello_load_{name} {help}")?;
    writeln!(page, "# TYPE hello_load_{name} {kind}")
}

fn histogram(page: &mut String, name: &str, labels: &str, times: &[&Times]) -> fmt::Result {
    let mut count = 0;
    for (i, bound) in BOUNDS.iter().enumerate() {
        count += sum(times, |times| &times.counts[i]);
        let bound = Seconds(*bound);
        writeln!(
            page,
            "hello_load_{name}_bucket{{{labels},le=\"{bound}\"}} {count}"
        )?;
    }
    count += sum(times, |times| &times.counts[BOUNDS.len()]);
    let seconds = Seconds(sum(times, |times| &times.sum));
    writeln!(
        page,
        "hello_load_{name}_bucket{{{labels},le=\"+Inf\"}} {count}"
    )?;
    writeln!(page, "hello_load_{name}_sum{{{labels}}} {seconds}")?;
    writeln!(page, "hello_load_{name}_count{{{labels}}} {count}")
}

fn sum<T>(of: &[&T], count: impl Fn(&T) -> &Count) -> u64 {
    of.iter().map(|of| count(of).get()).sum()
}

/// Nanoseconds, written as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ns) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let text = format!("{seconds}.{ns:09}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// The value of a label.
fn escape(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}
