//! `.ci/survivors` agrees with the source: every change that it names can be made, and has a reason.

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Of each function with this name its lines, from the signature to the brace that closes it.
fn functions<'a>(source: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let lines: Vec<&str> = source.lines().collect();
    let is_signature = |line: &str| {
        let after = line.split_once(&format!("fn {name}"));
        after.is_some_and(|(_, after)| after.starts_with(['(', '<']))
    };
    let starts = (0..lines.len()).filter(|at| is_signature(lines[*at]));
    let function = |start: usize| {
        let indent = lines[start].len() - lines[start].trim_start().len();
        let end = format!("{}}}", &lines[start][..indent]);
        let length = lines[start..].iter().position(|line| *line == end)?;
        Some(lines[start..start + length].to_vec())
    };
    starts.filter_map(function).collect()
}

/// The function of "replace + with - in Type::function", or of "replace Type::function -> bool with true".
/// "replace + with -" is in none.
fn function_name(change: &str) -> Option<&str> {
    let path = match change.rsplit_once(" in ") {
        Some((_, path)) => path,
        None => change.strip_prefix("replace ")?,
    };
    let path = path.split(" -> ").next()?.split(" with ").next()?;
    let name = path.rsplit("::").next()?;
    name.starts_with(|c: char| c.is_alphabetic())
        .then_some(name)
}

/// What is wrong with an entry.
fn check(entry: &str) -> Result<(), String> {
    let lines: Vec<&str> = entry.lines().map(str::trim).collect();
    let [mutant, code, _reason, ..] = lines[..] else {
        return Err("it needs a mutant, its code and a reason".to_owned());
    };
    let (file, change) = mutant.split_once(": ").ok_or("it names no file")?;
    let source = fs::read_to_string(Path::new(ROOT).join(file)).map_err(|e| e.to_string())?;
    let places = match function_name(change) {
        Some(name) => functions(&source, name),
        None => vec![source.lines().collect()],
    };
    if places.is_empty() {
        return Err("there is no such function".to_owned());
    }
    let operator = change.split(' ').nth(1).unwrap_or_default();
    let is_operator = operator.chars().all(|c| c.is_ascii_punctuation());
    let has_code = |place: &Vec<&str>| place.iter().any(|line| line.trim() == code);
    if !places.iter().any(has_code) || is_operator && !code.contains(operator) {
        return Err("it does not have this code".to_owned());
    }
    Ok(())
}

/// A crate from a registry has no `.ci`, and then nothing is to be checked.
#[test]
fn survivors_of_mutation_have_their_code_and_a_reason() {
    let text = fs::read_to_string(Path::new(ROOT).join(".ci/survivors")).unwrap_or_default();
    let entries = text.split("\n\n").filter(|entry| !entry.starts_with('#'));
    for entry in entries {
        assert_eq!(check(entry), Ok(()), ".ci/survivors:\n{entry}");
    }
}
