//! Where log lines go: stderr, so that stdout stays one line per listener. And what they look like.

use std::io::{self, Write, stderr};

use env_logger::{Builder, DEFAULT_FILTER_ENV, Target};
use log::LevelFilter;

use super::cli::LogFormat;
use super::stdio::Lines;

/// Sets the logger up, once. Without a `level`, `RUST_LOG` decides; without that, info does.
///
/// # Errors
/// In words: `RUST_LOG` is no filter.
pub(crate) fn start(level: Option<LevelFilter>, format: LogFormat) -> Result<(), String> {
    let mut builder = Builder::new();
    match (level, std::env::var(DEFAULT_FILTER_ENV)) {
        (None, Ok(filters)) => {
            // env_logger itself would print a complaint and go on without the part it is about.
            let parsed = env_filter::Builder::new().try_parse(&filters).map(|_| ());
            parsed.map_err(|e| format!("{DEFAULT_FILTER_ENV}={filters}: {e}"))?;
            builder.parse_filters(&filters);
        }
        (level, _) => {
            builder.filter_level(level.unwrap_or(LevelFilter::Info));
        }
    }
    builder.format_indent(None); // a line is one, and has no more
    if format == LogFormat::Json {
        builder.format(|line, record| {
            let (level, message) = (record.level().as_str(), record.args().to_string());
            line.write_all(object(level, record.target(), &message).as_bytes())
        });
    }
    let dropped = move |count| {
        let why = format!("{count} lines were dropped here, for want of a reader or of room");
        match format {
            LogFormat::Text => format!("{why}\n"),
            LogFormat::Json => object("WARN", NAME, &why),
        }
    };
    let lines = Lines::log(stderr(), Box::new(dropped));
    builder.target(Target::Pipe(Box::new(lines))).init();
    Ok(())
}

/// Says in one line why the server is not there. Not through the log: -q must not hide it.
pub(crate) fn fail(format: LogFormat, why: &str) {
    let line = match format {
        LogFormat::Text => format!("{NAME}: {why}\n"),
        LogFormat::Json => object("ERROR", NAME, why),
    };
    let _ = Lines::new(io::stderr()).write_all(line.as_bytes());
}

const NAME: &str = "hello-echo";

/// The longest message of an object, in characters, which may be escaped and so six bytes each: [`Lines`]
/// would cut what is longer than `PIPE_BUF`, and leave no object.
#[cfg(feature = "json")]
const LONGEST: usize = 600;

/// One line of JSON.
#[cfg(feature = "json")]
fn object(level: &str, target: &str, message: &str) -> String {
    // A setting of any length may be quoted in it.
    let message: String = message.chars().take(LONGEST).collect();
    #[allow(clippy::disallowed_methods, reason = "a log has the wall clock's time")]
    let time = humantime::format_rfc3339_micros(std::time::SystemTime::now()).to_string();
    let line = serde_json::json!({
        "time": time,
        "level": level,
        "target": target,
        "message": message,
    });
    format!("{line}\n")
}

/// Without the feature the command line offers text alone.
#[cfg(not(feature = "json"))]
fn object(_level: &str, target: &str, message: &str) -> String {
    format!("{target}: {message}\n")
}
