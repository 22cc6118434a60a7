//! `.ci/survivors` and `.ci/unreached` agree with the source: the code that they name is there, and each entry has
//! a reason.

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

/// What is wrong with a change of the code that is named as a survivor.
fn check_survivor(source: &str, change: &str, code: &str) -> Result<(), String> {
    let places = match function_name(change) {
        Some(name) => functions(source, name),
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

/// What is wrong with a line of this function that is named as unreached.
fn check_unreached(source: &str, function: &str, code: &str) -> Result<(), String> {
    let function = function.strip_suffix(", in some runs").unwrap_or(function);
    let lines = functions(source, function).into_iter().flatten();
    match lines.filter(|line| line.trim() == code).count() {
        1 => Ok(()),
        0 => Err("the function is not there, or has another code".to_owned()),
        n => Err(format!(
            "{n} lines have this code, so it does not say which"
        )),
    }
}

/// What is wrong with a name and the line of code below it.
fn check_name(
    name: &str,
    code: &str,
    check: fn(&str, &str, &str) -> Result<(), String>,
) -> Result<(), String> {
    let (file, place) = name.split_once(": ").ok_or("it names no file")?;
    let source = fs::read_to_string(Path::new(ROOT).join(file)).map_err(|e| e.to_string())?;
    check(&source, place, code)
}

/// An entry has names, each with its line of code below it, and then a reason. A crate from a registry has no
/// `.ci`, and then nothing is to be checked.
fn check_all(file: &str, check: fn(&str, &str, &str) -> Result<(), String>) {
    let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_default();
    let entries = text.split("\n\n").filter(|entry| !entry.starts_with('#'));
    for entry in entries {
        let lines: Vec<&str> = entry.lines().collect();
        let is_name = |line: &&str| !line.starts_with(' ');
        let last = lines.iter().rposition(is_name);
        let reason = last.and_then(|last| lines.get(last + 2));
        assert!(
            reason.is_some(),
            "{file}: it has no name, or no reason:\n{entry}"
        );
        for pair in lines.windows(2).filter(|pair| is_name(&pair[0])) {
            let checked = check_name(pair[0], pair[1].trim(), check);
            assert_eq!(checked, Ok(()), "{file}:\n{}\n{}", pair[0], pair[1]);
        }
    }
}

#[test]
fn survivors_of_mutation_have_their_code_and_a_reason() {
    check_all(".ci/survivors", check_survivor);
}

#[test]
fn lines_that_no_test_reaches_are_there_and_have_a_reason() {
    check_all(".ci/unreached", check_unreached);
}
