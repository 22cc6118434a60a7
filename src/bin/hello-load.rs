//! The load client: parse, run, report, exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use hello_echo::load::cli::{self, Request};
use hello_echo::load::report::Report;
use hello_echo::load::{Load, Stage, html};
use indicatif::{ProgressBar, ProgressStyle};

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let request = cli::parse(std::env::args_os()).unwrap_or_else(|e| e.exit());
    match run(&request) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(e) => {
            let _ = writeln!(io::stderr(), "hello-load: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything was right.
fn run(request: &Request) -> io::Result<bool> {
    let _ = hello_echo::raise_descriptor_limit();
    let mut load = Load::new(request.options.clone())?;
    let room = load.room()?;
    if !request.check {
        let _ = writeln!(io::stderr(), "{room}");
    }
    load.catch_signals()?;
    let bar = progress_bar(request);
    while load.turn(TICK)? {
        show(&bar, &load);
    }
    bar.finish_and_clear();
    let report = Report {
        record: load.record(),
        elapsed: load.elapsed(),
        targets: request
            .options
            .targets
            .iter()
            .map(ToString::to_string)
            .collect(),
        seed: request.seed,
        rate: request.options.plan.rate,
        is_cut_short: load.is_cut_short(),
    };
    say(request, &report)?;
    let complaints: Vec<String> = request
        .fail_if
        .iter()
        .filter_map(|condition| condition.complaint(&report))
        .collect();
    for complaint in &complaints {
        let _ = writeln!(io::stderr(), "hello-load: {complaint}");
    }
    // A check that was cut short has found nothing out.
    let is_checked = !request.check || report.record.right > 0;
    Ok(report.record.wrongs() == 0 && complaints.is_empty() && is_checked)
}

fn say(request: &Request, report: &Report<'_>) -> io::Result<()> {
    if let Some(file) = &request.html {
        std::fs::write(file, html::page(report)).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot write {}: {e}", file.display()))
        })?;
    }
    if request.json {
        writeln!(io::stdout(), "{}", report.json())
    } else if request.check {
        for described in &report.record.described {
            let _ = writeln!(io::stderr(), "hello-load: {described}");
        }
        if report.is_cut_short && report.record.right == 0 {
            let _ = writeln!(io::stderr(), "hello-load: cut short by a signal");
        }
        Ok(())
    } else {
        write!(io::stdout(), "{report}")
    }
}

/// On a terminal; elsewhere nothing is drawn.
fn progress_bar(request: &Request) -> ProgressBar {
    if request.check {
        return ProgressBar::hidden();
    }
    let plan = &request.options.plan;
    let template = "{wide_bar} {msg} {eta} left";
    let bar = match (plan.exchanges, plan.duration) {
        (_, Some(duration)) => ProgressBar::new(duration.as_millis() as u64),
        (exchanges, None) => ProgressBar::new(exchanges.unwrap_or(0).saturating_add(plan.hold)),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, load: &Load) {
    let record = load.record();
    let done = record.right + record.wrongs();
    let stage = match load.stage() {
        Stage::Ramp => "opening",
        Stage::Churn => "exchanging",
        Stage::Finish | Stage::Over => "finishing",
    };
    bar.set_position(load.position());
    let rate = done as f64 / load.elapsed().as_secs_f64().max(1e-9);
    let (open, wrong) = (record.open(), record.wrongs());
    bar.set_message(format!(
        "{stage}: {open} open, {done} done, {rate:.0}/s, {wrong} wrong,"
    ));
}
