//! The load client: parse, run, report, exit code.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use console::Term;
use hello_echo::load::Load;
use hello_echo::load::cli::{self, Invocation};
use hello_echo::load::report::{Report, html};
use hello_echo::program::escape::{escape, escape_json};
use indicatif::{ProgressBar, ProgressStyle};

/// The time between two updates of the progress bar.
const TICK: Duration = Duration::from_millis(100);

/// The steps of the progress bar.
const STEPS: u64 = 10_000;

fn main() -> ExitCode {
    let invocation = cli::parse(std::env::args_os()).unwrap_or_else(|e| e.exit());
    match run(&invocation) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(e) => {
            complain(&e.to_string());
            ExitCode::FAILURE
        }
    }
}

fn complain(why: &str) {
    let _ = writeln!(io::stderr(), "hello-load: {}", escape(why));
}

/// Returns whether everything was right.
fn run(invocation: &Invocation) -> io::Result<bool> {
    let _ = hello_echo::raise_descriptor_limit();
    let mut load = Load::new(invocation.options.clone())?;
    let room = load.room()?;
    // A file that cannot be written must fail before the run, not after it.
    let mut html = invocation.html.as_ref().map(create).transpose()?;
    if !invocation.check {
        let _ = writeln!(io::stderr(), "{room}");
    }
    load.catch_signals()?;
    #[allow(clippy::disallowed_methods, reason = "for the report's date")]
    let began = SystemTime::now();
    let ended = follow(&mut load, &progress_bar(invocation));
    let report = Report {
        record: load.record(),
        elapsed: load.elapsed(),
        began,
        line: &invocation.line,
        targets: invocation
            .options
            .targets
            .iter()
            .map(ToString::to_string)
            .collect(),
        seed: invocation.seed,
        rate: invocation.options.plan.rate,
        is_cut_short: load.is_cut_short(),
        error: ended.as_ref().err().map(ToString::to_string),
    };
    if report.record.opened > 0 || ended.is_ok() {
        say(invocation, &report)?;
        if let Some((file, name)) = &mut html {
            let page = html::page(&report);
            let written = file.write_all(page.as_bytes());
            written.map_err(|e| cannot_write(name, &e))?;
        }
    }
    ended?;
    let conditions = invocation.fail_if.iter();
    let complaints: Vec<String> = conditions.filter_map(|c| c.complaint(&report)).collect();
    for complaint in &complaints {
        complain(complaint);
    }
    // A check that was cut short has no result.
    let is_checked = !invocation.check || !report.is_cut_short;
    Ok(report.record.wrongs() == 0 && complaints.is_empty() && is_checked)
}

fn create(name: &PathBuf) -> io::Result<(File, &Path)> {
    let file = File::create(name).map_err(|e| cannot_write(name, &e))?;
    Ok((file, name))
}

fn cannot_write(name: &Path, error: &io::Error) -> io::Error {
    let why = format!("cannot write {}: {error}", name.display());
    io::Error::new(error.kind(), why)
}

fn say(invocation: &Invocation, report: &Report<'_>) -> io::Result<()> {
    if invocation.json {
        let json = report.json().to_string();
        return writeln!(io::stdout(), "{}", escape_json(&json));
    }
    if !invocation.check {
        let text = report.for_terminal(Term::stdout().size_checked());
        return write!(io::stdout(), "{text}");
    }
    for described in &report.record.described {
        complain(described);
    }
    if report.is_cut_short && report.error.is_none() {
        complain("cut short by a signal");
    }
    Ok(())
}

/// It draws only on a terminal.
fn progress_bar(invocation: &Invocation) -> ProgressBar {
    if invocation.check {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(STEPS);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg} {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Runs the load to its end. The progress bar shows the current stage.
fn follow(load: &mut Load, bar: &ProgressBar) -> io::Result<()> {
    let mut shown = load.stage();
    let mut pace = Pace::default();
    while load.turn(TICK)? {
        if load.stage() != shown {
            shown = load.stage();
            bar.reset();
        }
        bar.set_position((load.progress() * STEPS as f64) as u64);
        let record = load.record();
        let done = record.right + record.wrongs();
        let (stage, open, wrong) = (shown.name(), record.open(), record.wrongs());
        let rate = pace.of(done, load.elapsed());
        bar.set_message(format!(
            "{stage}: {open} open, {done} done, {rate:.0}/s, {wrong} wrong,"
        ));
    }
    bar.finish_and_clear();
    Ok(())
}

/// The exchanges a second over the last half second.
#[derive(Default)]
struct Pace {
    since: Duration,
    done: u64,
    rate: f64,
}

impl Pace {
    fn of(&mut self, done: u64, now: Duration) -> f64 {
        let seconds = now.saturating_sub(self.since).as_secs_f64();
        let rate = (done - self.done) as f64 / seconds.max(1e-9);
        if seconds >= 0.5 {
            (self.since, self.done, self.rate) = (now, done, rate);
        }
        if self.since.is_zero() {
            rate
        } else {
            self.rate
        }
    }
}
