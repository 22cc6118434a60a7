//! One line for an error: what was tried, on what, and why it failed.

use std::fmt::Display;
use std::io;

/// The same error, of the same kind, after the words for what was tried.
pub(crate) fn explain(what: impl Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// An error for something that was asked for and is impossible.
pub(crate) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}
