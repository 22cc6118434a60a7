//! The options that put measurements together, or beside each other.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::{flag, setting};
use crate::load::report::condition::Condition;
use crate::server::address::Address;

/// What makes sense beside --merge: everything else is about a run.
const BESIDE_MERGE: [&str; 6] = ["merge", "baseline", "json", "html", "markdown", "fail-if"];

pub(super) fn merge() -> Arg {
    setting(
        "merge",
        "FILE",
        "Do not run. Make one report of those that --json wrote to these\n\
         files, as if one tool had run; - is stdin",
    )
    .num_args(1..)
    .action(ArgAction::Append)
    .value_parser(value_parser!(PathBuf))
}

pub(super) fn baseline() -> Arg {
    setting(
        "baseline",
        "FILE",
        "Compare with the run whose report --json wrote to this file",
    )
    .conflicts_with("check")
    .value_parser(value_parser!(PathBuf))
}

pub(super) fn compare() -> Arg {
    flag(
        "compare",
        "Compare each target with the first, exchange by exchange",
    )
    .conflicts_with("check")
}

/// Which option would be ignored, and why.
pub(super) fn ignored(matches: &ArgMatches) -> Option<String> {
    let is_given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if is_given("merge") {
        let mut ids = matches.ids().map(clap::Id::as_str);
        let other = ids.find(|id| is_given(id) && !BESIDE_MERGE.contains(id))?;
        return Some(match other {
            "target" => "targets have no effect beside --merge, which does not run".to_owned(),
            other => format!("--{other} has no effect beside --merge, which does not run"),
        });
    }
    let targets = matches.get_many::<Address>("target");
    if matches.get_flag("compare") && targets.is_none_or(|targets| targets.len() < 2) {
        return Some("--compare has no effect: it takes two targets or more".to_owned());
    }
    let conditions = matches.get_many::<Condition>("fail-if");
    let needs_baseline = conditions
        .into_iter()
        .flatten()
        .any(Condition::needs_baseline);
    (needs_baseline && !is_given("baseline"))
        .then(|| "--fail-if is about a baseline: it takes --baseline".to_owned())
}
