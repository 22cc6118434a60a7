//! The load client's command line: the [`Options`] of the run, and where its report goes.

mod find_rate;

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::report::condition::{Condition, Goal};
use super::{Options, Payloads, Plan, Source};
use crate::program::usage;
use crate::program::values::{self, Utf8, count, count_in, unescape};
use crate::protocol::hello::MAX_MESSAGE;
use crate::server::address::Address;

mod files;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The options of the run.
    pub options: Options,
    /// The command line, quoted for a shell.
    pub line: String,
    /// The seed of the payloads.
    pub seed: u64,
    /// Find the highest rate that keeps this goal.
    pub find_rate: Option<Goal>,
    /// One exchange with each target, and no output if all are right.
    pub check: bool,
    /// Write the report as a JSON object in place of text.
    pub json: bool,
    /// Write the report as a page to this file.
    pub html: Option<PathBuf>,
    /// Write the report in Markdown in place of text.
    pub markdown: bool,
    /// Write a line each interval, in JSON if the report is.
    pub interval: Option<Duration>,
    /// Do not run, but make one report of those in these files.
    pub merge: Vec<PathBuf>,
    /// Compare the run with that of the report in this file.
    pub baseline: Option<PathBuf>,
    /// The run fails if one of these holds.
    pub fail_if: Vec<Condition>,
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// Wrong usage, or `--help` or `--version` instead of a run. [`clap::Error::exit`] says which and
/// ends the process with 2 or 0.
pub fn parse(
    line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> clap::error::Result<Invocation> {
    let line: Vec<OsString> = line.into_iter().map(Into::into).collect();
    let mut matches = usage::matches(command(), &line)?;
    if let Some(why) = files::ignored(&matches) {
        return Err(command().error(ErrorKind::ArgumentConflict, why));
    }
    let seed = matches.remove_one("seed").unwrap_or_else(random);
    let check = matches.get_flag("check");
    let is_given = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
    // In an open loop it limits how many held connections are opened and finished at once.
    let has_concurrency = is_given("concurrency") && !is_given("hold");
    let has_duration = is_given("duration");
    let options = options(&mut matches, seed, check);
    if let Some(why) = ignored(has_concurrency, has_duration, &options) {
        return Err(command().error(ErrorKind::ArgumentConflict, why));
    }
    let invocation = Invocation {
        options,
        line: quoted(line.get(1..).unwrap_or_default()),
        seed,
        find_rate: matches.remove_one("find-rate"),
        check,
        json: matches.get_flag("json"),
        html: matches.remove_one("html"),
        markdown: matches.get_flag("markdown"),
        interval: matches.remove_one("interval"),
        merge: several(&mut matches, "merge"),
        baseline: matches.remove_one("baseline"),
        fail_if: several(&mut matches, "fail-if"),
    };
    match find_rate::refusal(&invocation, has_duration) {
        Some(why) => Err(command().error(ErrorKind::ArgumentConflict, why)),
        None => Ok(invocation),
    }
}

/// All values of an option.
fn several<T: Clone + Send + Sync + 'static>(matches: &mut ArgMatches, name: &str) -> Vec<T> {
    matches.remove_many(name).into_iter().flatten().collect()
}

/// Which option would be ignored, and why. An option that has no effect is a mistake.
fn ignored(has_concurrency: bool, has_duration: bool, options: &Options) -> Option<&'static str> {
    let is_unix = |target: &Address| matches!(target, Address::Unix(_));
    if has_concurrency && options.plan.rate.is_some() {
        Some(
            "--concurrency has no effect beside --rate: an open loop has as many under way as it takes",
        )
    } else if has_duration && options.plan.duration.is_none() && !options.plan.is_endless() {
        Some("--duration 0 has no effect beside --exchanges: without end there is no count")
    } else if options.threads > options.plan.most_threads() {
        Some(
            "--threads has no effect beyond --concurrency, or beyond --hold and --exchanges together",
        )
    } else if !options.sources.is_empty() && options.targets.iter().all(is_unix) {
        Some("--source has no effect: a Unix socket has no address to connect from")
    } else {
        None
    }
}

fn quoted(arguments: &[OsString]) -> String {
    let quoted = arguments.iter().map(|argument| {
        let argument = argument.to_string_lossy();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+[]".contains(c);
        if !argument.is_empty() && argument.chars().all(is_plain) {
            argument.into_owned()
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    });
    std::iter::once("hello-load".to_owned())
        .chain(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A number that differs from run to run.
fn random() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

/// The table of options, for the parser and for the documentation.
#[must_use]
pub fn command() -> Command {
    Command::new("hello-load")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Opens many connections to hello-echo servers and checks every byte")
        .after_help(
            "A count may end in k, M, G, Ki, Mi or Gi; a duration has units, as in 500ms or 1m30s.\n\
             Without -n and -d there are 10000 exchanges; with --hold alone none beside the held.\n\
             The report is on stdout, progress on stderr and only on a terminal.\n\
             Exit status: 0 right, 1 could not run, 2 wrong usage, 3 something was wrong or missed,\n\
             or nothing was right or found; 130 or 143 if SIGINT or SIGTERM cut it short. With -d 0\n\
             the first signal ends the run without cutting it short.",
        )
        .arg(
            Arg::new("target")
                .value_name("ADDR")
                .default_value("127.0.0.1:8000")
                .num_args(0..)
                .value_parser(Utf8(str::parse::<Address>))
                .help("HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME;\nseveral are used in turn"),
        )
        .arg(flag(
            "check",
            "One exchange with each, silent if it is right: for health checks",
        )
        .conflicts_with_all([
            "exchanges",
            "duration",
            "concurrency",
            "rate",
            "hold",
            "ramp",
            "threads",
        ]))
        .arg(
            setting("exchanges", "N", "How many exchanges")
                .short('n')
                .value_parser(Utf8(count)),
        )
        .arg(duration(
            "duration",
            "How long exchanges are begun; 0 until a signal says stop. With -n\n\
             the run ends at whichever comes first",
        ).short('d'))
        .arg(
            setting("concurrency", "N", "Exchanges under way at once")
                .short('c')
                .default_value("64")
                .value_parser(Utf8(at_least_one)),
        )
        .arg(
            setting(
                "rate",
                "N",
                "Open loop: so many exchanges are begun a second, and their time\n\
                     counts from when they were meant to begin",
            )
            .short('r')
            .value_parser(Utf8(at_least_one)),
        )
        .arg(
            setting(
                "hold",
                "N",
                "First open so many connections, greeted and silent; in the end\n\
                     finish each with an exchange",
            )
            .value_parser(Utf8(count)),
        )
        .arg(
            setting("ramp", "N", "How many of the held to open a second")
                .requires("hold")
                .value_parser(Utf8(at_least_one)),
        )
        .arg(find_rate::arg())
        .arg(
            setting(
                "threads",
                "N",
                "How many threads share -n, -c, -r, --hold and --ramp",
            )
            .default_value("1")
            .value_parser(Utf8(count_in(1..=1024))),
        )
        .arg(
            setting(
                "payload",
                "BYTES",
                "What to send, or MIN-MAX for lengths in between",
            )
            .default_value("1000")
            .value_parser(Utf8(lengths)),
        )
        .arg(
            setting(
                "max-read",
                "BYTES",
                "What the servers read at most: an echo has no more, and at least\n\
                     what one segment carries",
            )
            .default_value("1000")
            .value_parser(Utf8(count_in(1..=MAX_MESSAGE as u32))),
        )
        .arg(
            setting(
                "source",
                "ADDR[/PREFIX]",
                "Where to connect from; repeatable. Each address has\n\
                     ports of its own",
            )
            .action(ArgAction::Append)
            .value_parser(Utf8(str::parse::<Source>)),
        )
        .arg(
            setting(
                "greeting",
                "TEXT",
                "What the servers send first, escaped as for their option",
            )
            .allow_hyphen_values(true)
            .default_value(r"hello\n")
            .value_parser(Utf8(unescape)),
        )
        .arg(duration("timeout", "How long an exchange may take; 0 for ever").default_value("60s"))
        .arg(flag("json", "The report as one JSON object"))
        .arg(
            setting("html", "FILE", "The report as a page with charts")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            flag("markdown", "The report in Markdown, for the summary of a CI job")
                .conflicts_with_all(["json", "check", "interval"]),
        )
        .arg(files::merge())
        .arg(files::baseline())
        .arg(files::compare())
        .arg(watching::interval())
        .arg(watching::metrics())
        .arg(
            setting("seed", "N", "Makes the payloads the same as in another run")
                .value_parser(Utf8(count)),
        )
        .arg(
            setting(
                "fail-if",
                "EXPR",
                "Exit with 3 if this is so, as in p99>50ms, echo.p50>=1ms,\n\
                     rate<10k, missed>5, p99>1.1*baseline; repeatable",
            )
            .action(ArgAction::Append)
            .value_parser(Utf8(str::parse::<Condition>)),
        )
}

fn setting(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn duration(name: &'static str, help: &'static str) -> Arg {
    setting(name, "DURATION", help).value_parser(Utf8(values::duration))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn at_least_one(text: &str) -> Result<u64, String> {
    let count = count(text)?;
    (count > 0)
        .then_some(count)
        .ok_or_else(|| "must be at least 1".to_owned())
}

/// `1000` or `1-64Ki`, in bytes.
fn lengths(text: &str) -> Result<(usize, usize), String> {
    let (shortest, longest) = text.split_once('-').unwrap_or((text, text));
    let (shortest, longest) = (count(shortest)?, count(longest)?);
    if shortest == 0 || shortest > longest || longest > MAX_MESSAGE as u64 {
        return Err(format!("not 1 to {MAX_MESSAGE} bytes, the shorter first"));
    }
    Ok((shortest as usize, longest as usize))
}

fn options(matches: &mut ArgMatches, seed: u64, check: bool) -> Options {
    let (shortest, longest) = matches.remove_one("payload").unwrap_or((1000, 1000));
    let targets: Vec<Address> = several(matches, "target");
    let plan = if check {
        check_of(targets.len() as u64)
    } else {
        plan(matches)
    };
    Options {
        targets,
        sources: several(matches, "source"),
        plan,
        threads: matches.remove_one("threads").map_or(1, |n: u32| n.into()),
        payloads: Payloads::new(seed, shortest, longest),
        max_read: matches
            .remove_one("max-read")
            .map_or(1000, |n: u32| n as usize),
        greeting: matches.remove_one("greeting").unwrap_or_default(),
        timeout: matches.remove_one("timeout").unwrap_or(Duration::ZERO),
        metrics: matches.remove_one("metrics"),
        compare: matches.get_flag("compare"),
    }
}

/// One exchange with each target, all at once.
fn check_of(targets: u64) -> Plan {
    Plan {
        hold: 0,
        ramp: None,
        exchanges: Some(targets),
        duration: None,
        concurrency: targets,
        rate: None,
        grace: None,
    }
}

fn plan(matches: &mut ArgMatches) -> Plan {
    let hold = matches.remove_one("hold").unwrap_or(0);
    let rate = matches.remove_one("rate");
    let duration = matches.remove_one("duration");
    let exchanges = matches.remove_one("exchanges");
    let default = match (duration, hold, rate) {
        (Some(_), ..) => None,
        (None, 1.., None) => Some(0),
        (None, ..) => Some(10_000),
    };
    Plan {
        hold,
        ramp: matches.remove_one("ramp"),
        exchanges: exchanges.or(default),
        duration: duration.filter(|duration: &Duration| !duration.is_zero()),
        concurrency: matches.remove_one("concurrency").unwrap_or(64),
        rate,
        grace: None,
    }
}

mod watching;

#[cfg(test)]
mod tests;
