//! Where log lines go: stderr, so that stdout stays one line per listener.

use std::io::stderr;

use env_logger::{Builder, DEFAULT_FILTER_ENV, Target};
use log::LevelFilter;

use crate::stdio::Lines;

/// Sets the logger up, once. Without a `level`, `RUST_LOG` decides; without that, info does.
///
/// # Errors
/// In words: `RUST_LOG` is no filter.
pub(crate) fn start(level: Option<LevelFilter>) -> Result<(), String> {
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
    builder
        .target(Target::Pipe(Box::new(Lines::log(stderr()))))
        .init();
    Ok(())
}
