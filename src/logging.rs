//! Where log lines go: stderr, so that stdout stays one line per listener.

use env_logger::{Builder, DEFAULT_FILTER_ENV};
use log::LevelFilter;

/// Sets the logger up, once. Without a `level`, `RUST_LOG` decides; without that, info does.
pub(crate) fn start(level: Option<LevelFilter>) {
    let mut builder = Builder::new();
    match (level, std::env::var(DEFAULT_FILTER_ENV)) {
        (None, Ok(filters)) => builder.parse_filters(&filters),
        (level, _) => builder.filter_level(level.unwrap_or(LevelFilter::Info)),
    };
    builder.init();
}
