//! The load client's program: parse, run, report, exit code.

mod files;
mod find;
mod interrupts;
mod interval;
mod page;
mod progress;
mod stderr;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use console::Term;
#[cfg(fuzzing)]
pub use files::read_text;

use super::cli::{self, Invocation};
use super::report::{Report, Searched, Setup, html};
use super::{Load, Record};
use crate::program::escape::{escape, escape_json};
use crate::server::{limits::fits, metrics};
use interrupts::Interrupts;
use interval::Intervals;
use page::Page;
use progress::Progress;
use stderr::Stderr;

/// How long a turn waits at most: for the next picture of the progress, and because a short wait shows
/// when the process was stopped for a longer time.
const TICK: Duration = Duration::from_millis(100);

/// The exit codes, beside 128 and the number of the signal that cut the run short.
const RIGHT: u8 = 0;
const COULD_NOT_RUN: u8 = 1;
const WRONG: u8 = 3;

/// Runs the program, with the arguments of this process.
pub fn main() -> ExitCode {
    if !fits(0) {
        Stderr::new().complain("there is too little memory to start");
        return ExitCode::from(COULD_NOT_RUN);
    }
    let invocation = cli::parse(std::env::args_os()).unwrap_or_else(|e| e.exit());
    let mut stderr = Stderr::new();
    let run = if invocation.merge.is_empty() {
        run
    } else {
        merge
    };
    let code = run(&invocation, &mut stderr).unwrap_or_else(|e| {
        stderr.complain(&e.to_string());
        COULD_NOT_RUN
    });
    stderr.finish();
    ExitCode::from(code)
}

/// What a run has measured, and how it ended.
struct Run {
    record: Record,
    elapsed: Duration,
    rate: Option<u64>,
    is_cut_short: bool,
    /// The signal that cut it short.
    signal: Option<i32>,
    ended: io::Result<()>,
    search: Option<Searched>,
    /// What stdout still has to get of `--interval`.
    lines: Vec<u8>,
    /// What catches the signals. It lives until the report is written, so that the next signal ends
    /// the process.
    _caught: Caught,
}

#[allow(dead_code, reason = "kept alive, not looked at")]
enum Caught {
    Run(super::Caught),
    Search(Interrupts),
}

/// Returns the exit code.
fn run(invocation: &Invocation, stderr: &mut Stderr) -> io::Result<u8> {
    let _ = crate::raise_descriptor_limit();
    let (setup, plan) = (Setup::of(&invocation.options), &invocation.options.plan);
    let targets = invocation.options.targets.len();
    let baseline = baseline(invocation, &setup, plan.rate, targets)?;
    // A file that cannot be written must fail before the run, not after it.
    let page = invocation.html.as_deref().map(Page::create).transpose()?;
    #[allow(clippy::disallowed_methods, reason = "for the report's date")]
    let began = SystemTime::now();
    let mut report = Report {
        record: Record::new([]).map_err(io::Error::other)?,
        elapsed: Duration::ZERO,
        began,
        line: invocation.line.clone(),
        targets: invocation
            .options
            .targets
            .iter()
            .map(ToString::to_string)
            .collect(),
        seed: invocation.seed,
        rate: plan.rate,
        is_cut_short: false,
        error: None,
        setup,
        fail_if: invocation.fail_if.clone(),
        baseline,
        search: None,
    };
    let run = match &invocation.find_rate {
        Some(goal) => find::find(invocation, goal, stderr)?,
        None => measure(invocation, &report, stderr)?,
    };
    (report.record, report.elapsed, report.rate) = (run.record, run.elapsed, run.rate);
    report.is_cut_short = run.is_cut_short;
    report.error = run.ended.as_ref().err().map(ToString::to_string);
    report.search = run.search;
    let has_figures = report.record.outcomes.opened > 0 || run.ended.is_ok();
    let is_published = !has_figures || publish(invocation, &report, &run.lines, page, stderr);
    if report.record.outcomes.wrongs() == 0 {
        run.ended?; // otherwise it is one of the failures
    }
    let code = exit_code(run.signal, &report, stderr);
    Ok(if is_published { code } else { COULD_NOT_RUN })
}

/// One run, as the options say. `report` is its report before it begins.
fn measure(invocation: &Invocation, report: &Report, stderr: &mut Stderr) -> io::Result<Run> {
    let mut load = Load::new(invocation.options.clone())?;
    if load.may_lack_room() {
        stderr.show(&format!("{}\n", load.room()));
    }
    if let Some(address) = load.metrics_addr() {
        stderr.show(&format!("{}\n", escape(&metrics::place(&address))));
    }
    load.catch_signals()?;
    let intervals = invocation.interval;
    let mut intervals = intervals.map(|every| Intervals::new(every, invocation.json, report));
    let ended = match &mut intervals {
        Some(intervals) => intervals.follow(&mut load),
        None => follow(&mut load, invocation, stderr),
    };
    let (elapsed, signal, is_cut_short) = (load.elapsed(), load.signal(), load.is_cut_short());
    let error = ended.as_ref().err().map(ToString::to_string);
    let lines = intervals.map(|intervals| intervals.finish(&mut load, is_cut_short, error));
    let (record, caught) = load.finish();
    let (record, lines) = lines.unwrap_or((record, vec![]));
    Ok(Run {
        record,
        elapsed,
        rate: invocation.options.plan.rate,
        is_cut_short,
        signal,
        ended,
        search: None,
        lines,
        _caught: Caught::Run(caught),
    })
}

/// The report of --baseline, if there is one.
///
/// # Errors
/// One line: it cannot be read, or a run that is asked for this cannot be compared with it.
fn baseline(
    invocation: &Invocation,
    setup: &Setup,
    rate: Option<u64>,
    targets: usize,
) -> io::Result<Option<Box<Report>>> {
    let Some(name) = &invocation.baseline else {
        return Ok(None);
    };
    let baseline = files::read([&**name])?;
    match baseline.cannot_compare(setup, rate, targets) {
        Some(why) => Err(io::Error::other(format!(
            "cannot compare with {}: {why}",
            name.display()
        ))),
        None => Ok(Some(Box::new(baseline))),
    }
}

/// Reports what earlier runs have measured together. Returns the exit code.
fn merge(invocation: &Invocation, stderr: &mut Stderr) -> io::Result<u8> {
    let page = invocation.html.as_deref().map(Page::create).transpose()?;
    let mut report = files::read(invocation.merge.iter().map(PathBuf::as_path))?;
    report.line.clone_from(&invocation.line);
    report.baseline = baseline(invocation, &report.setup, report.rate, report.targets.len())?;
    report.fail_if.clone_from(&invocation.fail_if);
    let is_published = publish(invocation, &report, &[], page, stderr);
    let code = exit_code(None, &report, stderr);
    Ok(if is_published { code } else { COULD_NOT_RUN })
}

/// Runs the load to its end, and shows how far it is.
fn follow(load: &mut Load, invocation: &Invocation, stderr: &mut Stderr) -> io::Result<()> {
    if invocation.check || !stderr.shows_pictures() {
        while load.turn(TICK)? {}
        return Ok(());
    }
    let mut progress = Progress::default();
    let ended = loop {
        match load.turn(TICK) {
            Ok(true) => {}
            ended => break ended.map(drop),
        }
        if let Some(line) = progress.line(load) {
            stderr.draw(&line);
        }
    };
    stderr.clear(progress::CLEAR);
    ended
}

/// Writes the page, and to stdout the `lines` that it still has to get and the report. Returns whether
/// all of it was written; stderr says why not. An error of one does not prevent the other.
fn publish(
    invocation: &Invocation,
    report: &Report,
    lines: &[u8],
    page: Option<Page>,
    stderr: &mut Stderr,
) -> bool {
    let written = page.map_or(Ok(()), |page| page.write(&html::page(report)));
    let said = match say(invocation, report, lines, stderr) {
        // A reader that has seen enough, as head(1) does.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => said.map_err(|e| io::Error::new(e.kind(), format!("cannot write the report: {e}"))),
    };
    let errors: Vec<io::Error> = [written, said]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    errors.iter().for_each(|e| stderr.complain(&e.to_string()));
    errors.is_empty()
}

fn say(
    invocation: &Invocation,
    report: &Report,
    lines: &[u8],
    stderr: &mut Stderr,
) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(lines)?;
    if invocation.json {
        let json = report.json().to_string();
        writeln!(stdout, "{}", escape_json(&json))?;
    } else if invocation.markdown {
        write!(stdout, "{}", report.markdown())?;
    } else if !invocation.check {
        let text = report.for_terminal(Term::stdout().size_checked());
        write!(stdout, "{text}")?;
    } else {
        report
            .record
            .described
            .iter()
            .for_each(|(_, what)| stderr.complain(what));
    }
    stdout.flush()
}

/// The exit code of a run that could run. stderr says why it is not 0, unless the report does.
fn exit_code(signal: Option<i32>, report: &Report, stderr: &mut Stderr) -> u8 {
    let failures = report.failures();
    failures.iter().for_each(|why| stderr.complain(why));
    match signal {
        Some(signal) => u8::try_from(128 + signal).unwrap_or(WRONG),
        None if report.is_good() => RIGHT,
        None => WRONG,
    }
}
