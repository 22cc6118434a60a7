//! The server's command line: options and environment to [`Config`].

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use log::LevelFilter;

use crate::address::Address;
use crate::config::{Config, MAX_MESSAGE};

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's settings.
    pub config: Config,
    /// How much to log; `None` leaves that to `RUST_LOG`.
    pub log_level: Option<LevelFilter>,
}

/// Reads a command line, the program's name first, and the environment behind it.
///
/// # Errors
/// Wrong usage, or `--help` or `--version` instead of a run. [`clap::Error::exit`] says which and
/// ends the process with 2 or 0.
pub fn parse(
    line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> clap::error::Result<Options> {
    let mut matches = command().try_get_matches_from(line)?;
    Ok(Options {
        log_level: log_level(&matches),
        config: config(&mut matches),
    })
}

/// The table of options, for whoever parses or documents them.
#[must_use]
pub fn command() -> Command {
    Command::new("hello-echo")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Greets every client, echoes one message and closes")
        .next_line_help(true)
        .after_help(
            "An option on the command line wins over its environment variable.\n\
             Logs go to stderr; without -v and -q, RUST_LOG filters them.\n\
             Exit status: 0 done, 1 could not run, 2 wrong usage.",
        )
        .arg(
            setting(
                "listen",
                "HELLO_ECHO_LISTEN",
                "ADDR",
                "127.0.0.1:8000",
                "Where to listen: HOST:PORT, [V6]:PORT or unix:PATH; repeatable, or several with\n\
                 commas between. Port 0 takes a free one; [::] is dual-stack",
            )
            .short('l')
            .action(ArgAction::Append)
            .value_delimiter(',')
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
            setting(
                "linger",
                "HELLO_ECHO_LINGER",
                "DURATION",
                "2s",
                "How long to wait for the client's FIN behind the echo; 0 closes at once",
            )
            .value_parser(humantime::parse_duration),
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

fn config(matches: &mut ArgMatches) -> Config {
    let mut config = Config::default();
    // Every one of these is there: each has a default.
    if let Some(listen) = matches.remove_many("listen") {
        config.listen = listen.collect();
    }
    if let Some(greeting) = matches.remove_one("greeting") {
        config.greeting = greeting;
    }
    if let Some(max_read) = matches.remove_one::<u32>("max-read") {
        config.max_read = max_read as usize;
    }
    if let Some(backlog) = matches.remove_one("backlog") {
        config.backlog = backlog;
    }
    if let Some(linger) = matches.remove_one::<Duration>("linger") {
        config.linger = linger;
    }
    config
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

/// The bytes that `text` writes down with the escapes `\n \r \t \0 \\ \xHH`.
///
/// # Errors
/// In words: an escape that is not one of these, or more bytes than [`MAX_MESSAGE`].
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, behind) = unescape_one(escape)
            .ok_or_else(|| format!(r"no escape: \{escape}; there are \n \r \t \0 \\ \xHH"))?;
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

    fn parsed(arguments: &[&str]) -> clap::error::Result<Options> {
        parse(["hello-echo"].iter().chain(arguments))
    }

    #[test]
    fn the_table_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn without_options_it_is_the_default() {
        let Options { config, log_level } = parsed(&[]).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        assert_eq!(log_level, None);
    }

    #[test]
    fn every_option_arrives() {
        let line = "-l 127.0.0.1:1 --listen unix:/a,[::]:2 --greeting=-\\x00 --max-read 1048576 \
                    --backlog 1 --linger 1m500ms -vv";
        let Options { config, log_level } = parsed(&line.split(' ').collect::<Vec<_>>()).unwrap();
        let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:1", "unix:/a", "[::]:2"]);
        assert_eq!(config.greeting, b"-\0");
        assert_eq!((config.max_read, config.backlog), (MAX_MESSAGE, 1));
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
