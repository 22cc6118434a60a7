//! The pages show what is: the code as it stands in the files that it is from, and what the trials tell.
//!
//! A page is a file of src/course. These lines of it stand before a block that is made, and are not shown:
//!
//! - `<!-- code PATH: TEXT -->`: the item or the statement of that file that begins in the one line with
//!   TEXT. If its first line opens something, it goes on to the line that closes it.
//! - `<!-- try N [SUBJECT] -->`: what that trial tells.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::steps::{STEPS, Subject};
use crate::trials;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Checks the programs, then the pages. It panics if something is wrong.
pub fn check() {
    check_programs();
    let pages = pages();
    let numbers: Vec<usize> = pages.iter().map(|page| page.number).collect();
    let expected: Vec<usize> = (1..=STEPS + 1).collect();
    assert_eq!(numbers, expected, "a page for each program, and the last");
    for (i, page) in pages.iter().enumerate() {
        page.check_shown();
        page.check_links(pages.get(i + 1));
        if page.number <= STEPS {
            page.check_variants();
        }
    }
    println!(
        "course: {STEPS} faults are shown, and mended; {} pages are true",
        pages.len()
    );
}

/// Each trial fails on the program of its page, and on no later one, and not on hello-echo.
fn check_programs() {
    for trial in 1..=STEPS {
        let later = (trial..=STEPS).map(Subject::Step);
        for subject in later.chain([Subject::Ours]) {
            let mut told = String::new();
            let is_right = trials::run(trial, subject, |line| told += &format!("{line}\n"));
            let expected = subject != Subject::Step(trial);
            assert_eq!(
                is_right,
                Some(expected),
                "try {trial} on {subject}:\n{told}"
            );
        }
    }
}

struct Page {
    number: usize,
    name: String,
    text: String,
}

fn folder() -> PathBuf {
    Path::new(ROOT).join("src/course")
}

/// In order.
fn pages() -> Vec<Page> {
    let files = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let mut pages: Vec<Page> = files
        .filter(is_page)
        .filter_map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let number = name.split('-').next()?.parse().ok()?; // the front page has none
            let text = fs::read_to_string(path).unwrap();
            Some(Page { number, name, text })
        })
        .collect();
    pages.sort_by_key(|page| page.number);
    pages
}

impl Page {
    fn check_shown(&self) {
        let made = self.made_anew();
        let path = folder().join(format!("{}.md", self.name));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &made).unwrap();
        }
        assert!(
            fs::read_to_string(path).unwrap() == made,
            "{} is not up to date; `UPDATE=1 cargo test --example course` makes it so",
            self.name
        );
    }

    /// The page, with every block that is made.
    fn made_anew(&self) -> String {
        let (mut made, mut lines) = (String::new(), self.text.lines());
        while let Some(line) = lines.next() {
            writeln!(made, "{line}").unwrap();
            let directive = line
                .strip_prefix("<!-- ")
                .and_then(|line| line.strip_suffix(" -->"));
            let Some(block) = directive.and_then(|directive| self.block(directive)) else {
                continue;
            };
            made += &block;
            // The block that stands there goes.
            if lines
                .clone()
                .next()
                .is_some_and(|line| line.starts_with("```"))
            {
                lines.next();
                lines.by_ref().find(|line| *line == "```").unwrap();
            }
        }
        made
    }

    fn block(&self, directive: &str) -> Option<String> {
        let (kind, what) = directive.split_once(' ').unwrap_or((directive, ""));
        match kind {
            "code" => {
                let (path, text) = what.split_once(": ").unwrap();
                let code = code(path, text);
                Some(format!("```rust\n// {path}\n{code}```\n"))
            }
            "try" => Some(self.transcript(what)),
            _ => None,
        }
    }

    fn transcript(&self, what: &str) -> String {
        let (trial, subject) = what.split_once(' ').unwrap_or((what, what));
        let mut told = String::new();
        let subject = Subject::parse(subject).unwrap();
        trials::run(trial.parse().unwrap(), subject, |line| {
            writeln!(told, "{line}").unwrap()
        })
        .unwrap();
        format!("```console\n$ cargo run -q --example course try {what}\n{told}```\n")
    }

    /// rustdoc has the page, the front page leads to it, and it leads on to the next.
    fn check_links(&self, next: Option<&Page>) {
        let read = |file| fs::read_to_string(folder().join(file)).unwrap();
        let mut row = format!("{} \"{}.md\"", self.module(), self.name);
        if self.number <= STEPS {
            write!(row, " \"{}.rs\"", self.name).unwrap();
        }
        assert!(read("mod.rs").contains(&row), "mod.rs does not have {row}");
        let link = format!("({})", self.module());
        assert!(
            read("front.md").contains(&link),
            "front.md does not have {link}"
        );
        if let Some(next) = next {
            let link = format!("({})", next.module());
            let last = self.text.lines().last().unwrap();
            assert!(
                last.contains(&link),
                "{} does not end with {link}",
                self.name
            );
        }
    }

    /// The name of the page in rustdoc.
    fn module(&self) -> String {
        format!("page_{}", self.name.replace('-', "_"))
    }

    /// It shows our code with the fault, and then which test tells. `.ci/naive` takes both from here; it
    /// sees whether the change applies.
    fn check_variants(&self) {
        let mut variants = 0;
        for part in self.text.split("```diff\n").skip(1) {
            let command = part.lines().find(|line| line.starts_with("cargo test "));
            let test = command.and_then(|line| line.rsplit(' ').next());
            let name = test.and_then(|test| test.rsplit("::").next()).unwrap();
            let is_there = ["src", "tests"]
                .iter()
                .any(|folder| has_test(&Path::new(ROOT).join(folder), name));
            assert!(is_there, "{}: there is no test {name}", self.name);
            variants += 1;
        }
        assert!(variants > 0, "{} has no variant of our code", self.name);
        let command = format!("\n.ci/naive {} ", self.number);
        assert!(
            self.text.contains(&command),
            "{} does not have{command}",
            self.name
        );
    }
}

fn has_test(folder: &Path, name: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return has_test(&path, name);
        }
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        is_rust
            && fs::read_to_string(path)
                .unwrap()
                .contains(&format!("fn {name}("))
    })
}

/// What begins in the one line of this file that has this text, without its indentation.
fn code(path: &str, text: &str) -> String {
    let file = fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    let mut places = (0..lines.len()).filter(|i| lines[*i].contains(text));
    let (Some(first), None) = (places.next(), places.next()) else {
        panic!("{path} does not have {text:?} in just one line");
    };
    let indentation = lines[first].len() - lines[first].trim_start().len();
    let ends = |line: &&str| {
        let has_indentation = line.len() - line.trim_start().len() == indentation;
        let code = line.split(" // ").next().unwrap_or(line).trim();
        has_indentation && !code.starts_with("//") && code.ends_with(['}', ')', ';', ','])
    };
    let length = lines[first..].iter().position(ends).unwrap() + 1;
    let mut code = String::new();
    for line in &lines[first..first + length] {
        writeln!(code, "{}", line.get(indentation..).unwrap_or("")).unwrap();
    }
    code
}
