//! From a command line and the environment to clap's matches, with errors that name what is wrong.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgMatches, Command};

use super::escape::escape;

/// Reads a command line, the program's name first, and the environment for what it leaves open. An
/// empty variable counts as unset.
///
/// # Errors
/// Those of clap. If a wrong value comes from a variable, the error names the variable.
/// [Hidden](super::escape::is_hidden) characters are escaped.
pub(crate) fn matches(table: Command, line: &[OsString]) -> clap::error::Result<ArgMatches> {
    // Usage would otherwise show how the program was called in place of its name.
    let name = table.get_name().to_owned();
    let table = table.bin_name(name);
    // The command line alone comes first. So an error of both comes from a variable.
    let alone = table.clone().mut_args(|arg| arg.env(None::<&str>));
    alone.try_get_matches_from(line).map_err(escaped)?;
    let both = table.mut_args(|arg| {
        if is_empty(&arg) {
            arg.env(None::<&str>)
        } else {
            arg
        }
    });
    let matches = both.clone().try_get_matches_from(line);
    matches.map_err(|e| escaped(of_variable(both, e)))
}

fn is_empty(arg: &Arg) -> bool {
    let value = arg.get_env().and_then(std::env::var_os);
    value.is_some_and(|value| value.is_empty())
}

/// The error of an option's value, as an error of the option's variable.
fn of_variable(mut table: Command, mut error: clap::Error) -> clap::Error {
    table.build();
    if let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) {
        let mut arguments = table.get_arguments();
        let argument = arguments.find(|arg| arg.to_string() == *option);
        if let Some(variable) = argument.and_then(Arg::get_env) {
            let variable = variable.to_string_lossy().into_owned();
            error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
        }
    }
    error
}

/// The same error with the user's text in it escaped. The usage is our own.
fn escaped(mut error: clap::Error) -> clap::Error {
    let context = error.context().map(|(kind, value)| (kind, value.clone()));
    for (kind, value) in context.collect::<Vec<_>>() {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(escape(&text)),
            ContextValue::Strings(texts) => {
                ContextValue::Strings(texts.iter().map(|text| escape(text)).collect())
            }
            ContextValue::StyledStrs(texts) => {
                let escaped = texts.iter().map(|text| escape(&text.to_string()).into());
                ContextValue::StyledStrs(escaped.collect())
            }
            other => other,
        };
        error.insert(kind, value);
    }
    error
}
