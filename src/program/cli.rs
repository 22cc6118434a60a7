//! The server's command line: options and environment to [`Config`].

use std::ffi::OsString;
use std::fmt::Display;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use log::LevelFilter;

use super::escape::escape;
use super::usage;
use super::values::{Utf8, count_in, duration};
use crate::protocol::hello::{MAX_MESSAGE, Settings};
use crate::server::address::{Address, ParseAddressError};
use crate::server::config::{Config, SHORTEST_STATS};

pub use super::values::unescape;

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The server's settings.
    pub config: Config,
    /// The protocol's settings.
    pub hello: Settings,
    /// How much to log. `None` leaves that to `RUST_LOG`.
    pub log_level: Option<LevelFilter>,
    /// How a log line looks.
    pub log_format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, place and message.
    Text,
    /// The same as an object, of strings.
    Json,
}

/// Its names.
const LOG_FORMATS: &[&str] = if cfg!(feature = "json") {
    &["text", "json"]
} else {
    &["text"]
};

/// Reads a command line, the program's name first, and the environment for what it leaves open.
///
/// # Errors
/// Wrong usage, or `--help` or `--version` instead of a run. [`clap::Error::exit`] says which and
/// ends the process with 2 or 0.
pub fn parse(
    line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> clap::error::Result<Arguments> {
    let line: Vec<OsString> = line.into_iter().map(Into::into).collect();
    let mut matches = usage::matches(command(), &line)?;
    let log_level = log_level(&matches);
    let log_format = match matches.get_one::<String>("log-format").map(String::as_str) {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    let listen = listen(&mut matches, std::env::var_os(LISTEN_VARIABLE))?;
    Ok(Arguments {
        hello: hello(&mut matches),
        config: config(&mut matches, listen),
        log_level,
        log_format,
    })
}

/// clap does not read this variable, because it holds several addresses with commas between them.
/// On the command line a comma is part of the address, as in the path of a Unix socket.
const LISTEN_VARIABLE: &str = "HELLO_ECHO_LISTEN";

/// The table of options, for the parser and for the documentation.
#[must_use]
pub fn command() -> Command {
    Command::new("hello-echo")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Greets every client, echoes one message and closes")
        .next_line_help(true)
        .after_help(
            "An option on the command line wins over its environment variable; an empty one counts as unset.\n\
             A count may end in k, M, G, Ki, Mi or Gi; a duration has units, as in 500ms or 1m30s.\n\
             SIGTERM or SIGINT shuts down, a second one at once; SIGUSR1 logs the counters.\n\
             Logs go to stderr; without -v and -q, RUST_LOG filters them.\n\
             Exit status: 0 done, 1 could not run, 2 wrong usage.",
        )
        .arg(
            setting(
                "listen",
                LISTEN_VARIABLE,
                "ADDR",
                "127.0.0.1:8000",
                "Where to listen: HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME; repeatable. The\n\
                 variable takes a list with commas. Port 0 is any free one; [::] is dual-stack",
            )
            .short('l')
            .env(None::<&str>)
            .action(ArgAction::Append)
            .value_parser(Utf8(str::parse::<Address>)),
        )
        .arg(
            setting(
                "greeting",
                "HELLO_ECHO_GREETING",
                "TEXT",
                r"hello\n",
                r"What every client is sent first; may be empty. Escapes: \n \r \t \0 \\ \xHH",
            )
            .allow_hyphen_values(true)
            .value_parser(Utf8(unescape)),
        )
        .arg(
            setting(
                "max-read",
                "HELLO_ECHO_MAX_READ",
                "BYTES",
                "1000",
                "The longest message that is echoed: 1 to 1048576 bytes",
            )
            .value_parser(Utf8(count_in(1..=MAX_MESSAGE as u32))),
        )
        .arg(
            setting(
                "backlog",
                "HELLO_ECHO_BACKLOG",
                "N",
                "4096",
                "How many clients may wait to be accepted; others try again. The kernel clamps it\nto net.core.somaxconn",
            )
            .value_parser(Utf8(count_in(1..=i32::MAX as u32))),
        )
        .arg(
            setting(
                "reuse-port",
                "HELLO_ECHO_REUSE_PORT",
                "yes|no",
                "no",
                "Let other processes listen on the same TCP ports; all of them must say so",
            )
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("yes")
            .hide_possible_values(true)
            .value_parser(Utf8(BoolishValueParser::new())),
        )
        .arg(
            setting(
                "timeout",
                "HELLO_ECHO_TIMEOUT",
                "DURATION",
                "60s",
                "How long a client may take from its connection to the end of its echo; 0 for ever",
            )
            .value_parser(Utf8(duration)),
        )
        .arg(
            setting(
                "linger",
                "HELLO_ECHO_LINGER",
                "DURATION",
                "2s",
                "How long to wait for the client's FIN after the echo; 0 closes at once",
            )
            .value_parser(Utf8(duration)),
        )
        .arg(
            setting(
                "grace",
                "HELLO_ECHO_GRACE",
                "DURATION",
                "10s",
                "How long a shutdown waits for clients that are not done; 0 does not wait",
            )
            .value_parser(Utf8(duration)),
        )
        .arg(
            setting(
                "max-connections",
                "HELLO_ECHO_MAX_CONNECTIONS",
                "N",
                "what the descriptor limit allows",
                "The most clients at once; others wait in the backlog for their turn",
            )
            .default_value(None)
            .value_parser(Utf8(count_in(1..=u32::MAX))),
        )
        .arg(
            setting(
                "stats",
                "HELLO_ECHO_STATS",
                "DURATION",
                "0",
                "How often to log the counters, 10ms or more; 0 is never",
            )
            .value_parser(Utf8(interval)),
        )
        .arg(
            setting(
                "metrics",
                "HELLO_ECHO_METRICS",
                "ADDR",
                "off",
                "Where to serve the counters for Prometheus, over HTTP at /metrics",
            )
            .value_parser(Utf8(metrics)),
        )
        .arg(
            setting(
                "log-format",
                "HELLO_ECHO_LOG_FORMAT",
                "FORMAT",
                "text",
                "What a log line looks like: text, or json for an object a line",
            )
            .hide_possible_values(true)
            .value_parser(Utf8(PossibleValuesParser::new(LOG_FORMATS))),
        )
        .arg(
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .action(ArgAction::Count)
                .conflicts_with("quiet")
                .help("Log every connection; -vv everything"),
        )
        .arg(
            Arg::new("quiet")
                .short('q')
                .long("quiet")
                .action(ArgAction::Count)
                .help("Log warnings and errors only; -qq errors, -qqq nothing"),
        )
}

/// An option with an environment variable and a default, which the help shows in a line.
fn setting(
    name: &'static str,
    variable: &'static str,
    value: &'static str,
    default: &'static str,
    help: &str,
) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .env(variable)
        .hide_env(true)
        .default_value(default)
        .hide_default_value(true)
        .help(format!("{help}\n[{variable}, default {default}]"))
}

/// A flag comes before the environment, and the environment before the default.
fn listen(
    matches: &mut ArgMatches,
    variable: Option<OsString>,
) -> clap::error::Result<Vec<Address>> {
    let fault = |value: &str, why: &dyn Display| {
        let value = escape(value);
        let fault = format!("invalid value '{value}' for '{LISTEN_VARIABLE}': {why}");
        command().error(ErrorKind::ValueValidation, fault)
    };
    let is_default = matches.value_source("listen") == Some(ValueSource::DefaultValue);
    let Some(listed) = variable.filter(|listed| is_default && !listed.is_empty()) else {
        let addresses = matches.remove_many("listen");
        return Ok(addresses.into_iter().flatten().collect());
    };
    let Some(listed) = listed.to_str() else {
        return Err(fault(&listed.to_string_lossy(), &"it is not UTF-8"));
    };
    let addresses = listed.split(',');
    addresses
        .map(|address| address.parse().map_err(|e| fault(address, &e)))
        .collect()
}

fn config(matches: &mut ArgMatches, listen: Vec<Address>) -> Config {
    let mut config = Config {
        listen,
        ..Config::default()
    };
    // All of these but one are always there, because each has a default.
    if let Some(backlog) = matches.remove_one("backlog") {
        config.backlog = backlog;
    }
    config.reuse_port = matches.get_flag("reuse-port");
    if let Some(linger) = matches.remove_one::<Duration>("linger") {
        config.linger = linger;
    }
    if let Some(grace) = matches.remove_one::<Duration>("grace") {
        config.grace = grace;
    }
    config.max_connections = matches.remove_one("max-connections");
    if let Some(stats) = matches.remove_one::<Duration>("stats") {
        config.stats = stats;
    }
    if let Some(metrics) = matches.remove_one("metrics") {
        config.metrics = metrics;
    }
    config
}

fn hello(matches: &mut ArgMatches) -> Settings {
    let mut settings = Settings::default();
    if let Some(greeting) = matches.remove_one("greeting") {
        settings.greeting = greeting;
    }
    if let Some(max_read) = matches.remove_one::<u32>("max-read") {
        settings.max_read = max_read as usize;
    }
    if let Some(timeout) = matches.remove_one::<Duration>("timeout") {
        settings.timeout = timeout;
    }
    settings
}

fn log_level(matches: &ArgMatches) -> Option<LevelFilter> {
    match (matches.get_count("verbose"), matches.get_count("quiet")) {
        (0, 0) => None,
        (1, _) => Some(LevelFilter::Debug),
        (2.., _) => Some(LevelFilter::Trace),
        (_, 1) => Some(LevelFilter::Warn),
        (_, 2) => Some(LevelFilter::Error),
        (_, 3..) => Some(LevelFilter::Off),
    }
}

/// `None`: nowhere, whatever the environment says.
fn metrics(text: &str) -> Result<Option<Address>, ParseAddressError> {
    match text {
        "off" => Ok(None),
        address => address.parse().map(Some),
    }
}

/// A duration that is zero, or long enough to be repeated.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if !interval.is_zero() && interval < SHORTEST_STATS {
        return Err(format!("shorter than {SHORTEST_STATS:?}"));
    }
    Ok(interval)
}

#[cfg(test)]
mod tests;
