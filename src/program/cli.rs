//! The server's command line: options and environment to [`Config`].

use std::env::VarError;
use std::ffi::OsString;
use std::fmt::Display;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use log::LevelFilter;

use crate::protocol::hello::{MAX_MESSAGE, Settings};
use crate::server::address::{Address, ParseAddressError};
use crate::server::config::{Config, SHORTEST_STATS};

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The server's settings.
    pub config: Config,
    /// The protocol's.
    pub hello: Settings,
    /// How much to log; `None` leaves that to `RUST_LOG`.
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
    let mut matches = command().try_get_matches_from(line)?;
    let log_level = log_level(&matches);
    let log_format = match matches.get_one::<String>("log-format").map(String::as_str) {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    let listen = listen(&mut matches, std::env::var(LISTEN_VARIABLE))?;
    Ok(Arguments {
        hello: hello(&mut matches),
        config: config(&mut matches, listen),
        log_level,
        log_format,
    })
}

/// Not clap's business: it holds several addresses, with commas between. On the command line a
/// comma is a part of the address, as the path of a Unix socket may have one.
const LISTEN_VARIABLE: &str = "HELLO_ECHO_LISTEN";

/// The table of options, for whoever parses or documents them.
#[must_use]
pub fn command() -> Command {
    Command::new("hello-echo")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Greets every client, echoes one message and closes")
        .next_line_help(true)
        .after_help(
            "An option on the command line wins over its environment variable.\n\
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
                "Where to listen: HOST:PORT, [V6]:PORT or unix:PATH; repeatable, in the variable\n\
                 separated by commas. Port 0 takes a free one; [::] is dual-stack",
            )
            .short('l')
            .env(None::<&str>)
            .action(ArgAction::Append)
            .value_parser(value_parser!(Address)),
        )
        .arg(
            setting(
                "greeting",
                "HELLO_ECHO_GREETING",
                "TEXT",
                r"hello\n",
                r"What every client is sent first, may be empty. Escapes: \n \r \t \0 \\ \xHH",
            )
            .allow_hyphen_values(true)
            .value_parser(unescape),
        )
        .arg(
            setting(
                "max-read",
                "HELLO_ECHO_MAX_READ",
                "BYTES",
                "1000",
                "The longest message that is echoed: 1 to 1048576 bytes",
            )
            .value_parser(value_parser!(u32).range(1..=MAX_MESSAGE as i64)),
        )
        .arg(
            setting(
                "backlog",
                "HELLO_ECHO_BACKLOG",
                "N",
                "4096",
                "How many clients may wait to be accepted; clamped by net.core.somaxconn",
            )
            .value_parser(value_parser!(u32).range(1..=i64::from(i32::MAX))),
        )
        .arg(
            Arg::new("reuse-port")
                .long("reuse-port")
                .env("HELLO_ECHO_REUSE_PORT")
                .hide_env(true)
                .action(ArgAction::SetTrue)
                .value_parser(BoolishValueParser::new())
                .help(
                    "Let other processes listen on the same TCP ports; all of them must say so\n\
                     [HELLO_ECHO_REUSE_PORT, default no]",
                ),
        )
        .arg(
            setting(
                "timeout",
                "HELLO_ECHO_TIMEOUT",
                "DURATION",
                "60s",
                "How long a client may take from its connection to the end of its echo; 0 for ever",
            )
            .value_parser(humantime::parse_duration),
        )
        .arg(
            setting(
                "linger",
                "HELLO_ECHO_LINGER",
                "DURATION",
                "2s",
                "How long to wait for the client's FIN after the echo; 0 closes at once",
            )
            .value_parser(humantime::parse_duration),
        )
        .arg(
            setting(
                "grace",
                "HELLO_ECHO_GRACE",
                "DURATION",
                "10s",
                "How long a shutdown waits for clients that are not done; 0 does not wait",
            )
            .value_parser(humantime::parse_duration),
        )
        .arg(
            setting(
                "max-connections",
                "HELLO_ECHO_MAX_CONNECTIONS",
                "N",
                "what the descriptor limit allows",
                "How many clients there may be at once; others wait in the backlog for their turn",
            )
            .default_value(None)
            .value_parser(value_parser!(u32).range(1..)),
        )
        .arg(
            setting(
                "stats",
                "HELLO_ECHO_STATS",
                "DURATION",
                "0",
                "How often to log what became of the clients, 10ms or more; 0 is off",
            )
            .value_parser(interval),
        )
        .arg(
            setting(
                "metrics",
                "HELLO_ECHO_METRICS",
                "ADDR",
                "off",
                "Where to serve Prometheus' text over HTTP, at /metrics",
            )
            .value_parser(metrics),
        )
        .arg(
            setting(
                "log-format",
                "HELLO_ECHO_LOG_FORMAT",
                "FORMAT",
                "text",
                "How a log line looks: text or json, which is an object a line",
            )
            .hide_possible_values(true)
            .value_parser(PossibleValuesParser::new(LOG_FORMATS)),
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

/// Flag before environment before default.
fn listen(
    matches: &mut ArgMatches,
    variable: Result<String, VarError>,
) -> clap::error::Result<Vec<Address>> {
    let fault = |value: &str, why: &dyn Display| {
        let fault = format!("invalid value '{value}' for {LISTEN_VARIABLE}: {why}");
        command().error(ErrorKind::ValueValidation, fault)
    };
    let is_default = matches.value_source("listen") == Some(ValueSource::DefaultValue);
    match variable {
        Ok(listed) if is_default => listed
            .split(',')
            .map(|address| address.parse().map_err(|e| fault(address, &e)))
            .collect(),
        Err(VarError::NotUnicode(value)) if is_default => {
            Err(fault(&value.to_string_lossy(), &"not UTF-8"))
        }
        _ => Ok(matches
            .remove_many("listen")
            .into_iter()
            .flatten()
            .collect()),
    }
}

fn config(matches: &mut ArgMatches, listen: Vec<Address>) -> Config {
    let mut config = Config {
        listen,
        ..Config::default()
    };
    // Every one of these but one is there: each has a default.
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

/// A duration that is zero or long enough to be repeated.
fn interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval.is_zero() || interval >= SHORTEST_STATS => Ok(interval),
        Ok(_) => Err(format!("shorter than {SHORTEST_STATS:?}")),
        Err(e) => Err(e.to_string()),
    }
}

/// The bytes that `text` writes down with the escapes `\n \r \t \0 \\ \xHH`.
///
/// # Errors
/// In words: an escape that is not one of these, or more bytes than [`MAX_MESSAGE`].
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, behind) = unescape_one(escape).ok_or_else(|| {
            let shown: String = escape.chars().take(1).collect();
            format!(r"unknown escape \{shown}; there are \n \r \t \0 \\ \xHH")
        })?;
        bytes.push(byte);
        rest = behind;
    }
    bytes.extend_from_slice(rest.as_bytes());
    if bytes.len() > MAX_MESSAGE {
        return Err(format!("{} bytes, longer than {MAX_MESSAGE}", bytes.len()));
    }
    Ok(bytes)
}

/// The byte that stands behind a backslash, and what stands behind that.
fn unescape_one(escape: &str) -> Option<(u8, &str)> {
    let (kind, behind) = escape.split_at_checked(1)?;
    match kind {
        "n" => Some((b'\n', behind)),
        "r" => Some((b'\r', behind)),
        "t" => Some((b'\t', behind)),
        "0" => Some((0, behind)),
        "\\" => Some((b'\\', behind)),
        "x" => {
            let (digits, behind) = behind.split_at_checked(2)?;
            // from_str_radix would take a sign, too.
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
            Some((byte, behind))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> clap::error::Result<Arguments> {
        parse(["hello-echo"].iter().chain(arguments))
    }

    #[test]
    fn the_table_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn without_options_it_is_the_default() {
        let Arguments {
            config,
            hello,
            log_level,
            ..
        } = parsed(&[]).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        assert_eq!(format!("{hello:?}"), format!("{:?}", Settings::default()));
        assert_eq!(log_level, None);
    }

    #[test]
    fn every_option_arrives() {
        let line = "-l 127.0.0.1:1 --listen unix:/a,b -l [::]:2 --greeting=-\\x00 --max-read 1048576 \
                    --backlog 1 --timeout 0 --linger 1m500ms -vv";
        let Arguments {
            config,
            hello,
            log_level,
            ..
        } = parsed(&line.split(' ').collect::<Vec<_>>()).unwrap();
        let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:1", "unix:/a,b", "[::]:2"]);
        assert_eq!(hello.greeting, b"-\0");
        assert_eq!((hello.max_read, config.backlog), (MAX_MESSAGE, 1));
        assert_eq!(hello.timeout, Duration::ZERO);
        assert_eq!(config.linger, Duration::from_millis(60_500));
        assert_eq!(log_level, Some(LevelFilter::Trace));
    }

    #[test]
    fn limits_are_part_of_the_usage() {
        let allowed = [
            "--max-read 1",
            "--backlog 2147483647",
            "--linger 0",
            "--linger 0s",
            "-qqqq",
        ];
        for line in allowed {
            assert!(
                parsed(&line.split(' ').collect::<Vec<_>>()).is_ok(),
                "{line}"
            );
        }
        let refused = [
            "--max-read 0",
            "--max-read 1048577",
            "--max-read 1k",
            "--max-read",
            "--backlog 0",
            "--backlog 2147483648",
            "--backlog -1",
            "--linger 2",
            "--linger -1s",
            "--timeout 1",
            "--listen 8000",
            "--listen",
            "-v -q",
            "--greeting \\q",
            "--no-such-option",
            "stray",
        ];
        for line in refused {
            let error = parsed(&line.split(' ').collect::<Vec<_>>()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn greetings_are_unescaped() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(unescape(text).ok().as_deref(), expected, "{text}");
        };
        check("", Some(b""));
        check("hello", Some(b"hello"));
        check(r"hello\n", Some(b"hello\n"));
        check(r"\r\t\0\\\x41\xfF", Some(b"\r\t\0\\A\xff"));
        check(r"\\n", Some(b"\\n"));
        check("h\u{e9}llo", Some("h\u{e9}llo".as_bytes()));
        for wrong in [
            "\\",
            r"a\",
            r"\q",
            r"\N",
            r"\x",
            r"\x4",
            r"\x4g",
            r"\x+4",
            "\\\u{e9}",
            "\\x\u{e9}",
        ] {
            check(wrong, None);
        }
        assert!(unescape(&"a".repeat(MAX_MESSAGE)).is_ok());
        assert!(unescape(&"a".repeat(MAX_MESSAGE + 1)).is_err());
    }
}
