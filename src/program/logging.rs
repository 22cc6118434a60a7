//! Where log lines go (stderr, so that stdout stays one line per listener), and what they look
//! like.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write, stderr};
use std::time::SystemTime;

use env_logger::{Builder, DEFAULT_FILTER_ENV, Target};
use log::LevelFilter;

use super::cli::LogFormat;
#[cfg(feature = "json")]
use super::escape::escape_json;
use super::stdio::Lines;

/// Sets the logger up, once. Without a `level`, `RUST_LOG` decides; without that, the level is
/// info.
///
/// # Errors
/// In words: `RUST_LOG` is not a filter.
pub(crate) fn start(level: Option<LevelFilter>, format: LogFormat) -> Result<(), String> {
    let mut builder = Builder::new();
    let filters = match level {
        Some(_) => None,
        None => filters(std::env::var_os(DEFAULT_FILTER_ENV))?,
    };
    match filters {
        Some(filters) => builder.parse_filters(&filters),
        None => builder.filter_level(level.unwrap_or(LevelFilter::Info)),
    };
    match format {
        // As env_logger does it with one more crate, for the time.
        LogFormat::Text => builder.format(|line, record| {
            let time = humantime::format_rfc3339_seconds(now());
            let (level, target) = (record.level(), record.target());
            writeln!(line, "[{time} {level:<5} {target}] {}", record.args())
        }),
        LogFormat::Json => builder.format(|line, record| {
            let (level, message) = (record.level().as_str(), record.args().to_string());
            line.write_all(object(level, record.target(), &message).as_bytes())
        }),
    };
    let dropped = move |count| {
        let why =
            format!("{count} lines were dropped here: nobody read them, or there was no room");
        match format {
            LogFormat::Text => format!("{why}\n"),
            LogFormat::Json => object("WARN", NAME, &why),
        }
    };
    let lines = Lines::log(stderr(), Box::new(dropped));
    builder.target(Target::Pipe(Box::new(lines))).init();
    Ok(())
}

/// The filters of `RUST_LOG`, if it has any; a comma alone has none. env_logger itself would print
/// a complaint and go on without the part that is wrong, or take any text for a module that nothing
/// is logged from.
///
/// # Errors
/// In words: it is not a filter.
fn filters(variable: Option<OsString>) -> Result<Option<String>, String> {
    let variable = variable.unwrap_or_default();
    let wrong = |why: &dyn Display| {
        let filters = variable.to_string_lossy();
        format!("{DEFAULT_FILTER_ENV}={filters}: {why}")
    };
    let filters = variable.to_str().ok_or_else(|| wrong(&"it is not UTF-8"))?;
    if filters.trim_matches([',', ' ']).is_empty() {
        return Ok(None);
    }
    let parsed = env_filter::Builder::new().try_parse(filters).map(|_| ());
    parsed.map_err(|e| wrong(&e))?;
    let (directives, _) = filters.split_once('/').unwrap_or((filters, ""));
    for directive in directives.split(',').map(str::trim) {
        let (target, _) = directive.split_once('=').unwrap_or((directive, ""));
        let is_path = |c: char| c.is_alphanumeric() || "_:-.".contains(c);
        if !directive.is_empty() && (target.is_empty() || !target.trim().chars().all(is_path)) {
            let why = format!("'{target}' is neither a level nor the path of a module");
            return Err(wrong(&why));
        }
    }
    Ok(Some(filters.to_owned()))
}

/// Says in one line why the server does not run. It does not use the log, because -q must not hide
/// it.
pub(crate) fn fail(format: LogFormat, why: &str) {
    let line = match format {
        LogFormat::Text => format!("{NAME}: {why}\n"),
        LogFormat::Json => object("ERROR", NAME, why),
    };
    let _ = Lines::new(io::stderr()).write_all(line.as_bytes());
}

const NAME: &str = "hello-echo";

#[allow(clippy::disallowed_methods, reason = "a log has the wall clock's time")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// The longest message of an object, in units of UTF-16, each of which takes six bytes if it is
/// escaped. [`Lines`] would cut a line that is longer than `PIPE_BUF`, and leave no object.
#[cfg(feature = "json")]
const LONGEST: usize = 600;

/// One line of JSON.
#[cfg(feature = "json")]
fn object(level: &str, target: &str, message: &str) -> String {
    // It may quote a setting of any length.
    let mut units = 0;
    let fits = |character: &char| {
        units += character.len_utf16();
        units <= LONGEST
    };
    let message: String = message.chars().take_while(fits).collect();
    let time = humantime::format_rfc3339_micros(now()).to_string();
    let line = serde_json::json!({
        "time": time,
        "level": level,
        "target": target,
        "message": message,
    });
    escape_json(&line.to_string()) + "\n"
}

/// Without the feature the command line offers text alone.
#[cfg(not(feature = "json"))]
fn object(_level: &str, target: &str, message: &str) -> String {
    format!("{target}: {message}\n")
}
