//! The programs of the course, and what goes wrong with each.
//!
//! - `cargo run --example course try 3` does to program 3 what its page is about, and tells what came of it;
//!   `try 3 4` does the same to program 4, and `try 3 ours` to hello-echo.
//! - `cargo run --example course serve 3` serves with program 3 on 127.0.0.1:8000.
//! - `cargo test --example course` does every try: each must fail on its own program, as its page shows,
//!   and succeed on all that follow. With `UPDATE=1` it makes the pages show what happens.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "that is how a test fails; what it prints is what it is for"
)]

mod pages;
mod stage;
mod steps;
mod trials;
mod turned;

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use steps::{STEPS, Settings, Subject};

fn main() -> ExitCode {
    if let Some(subject) = std::env::var_os(stage::SERVE) {
        return child(Subject::parse(subject.to_str().unwrap()).unwrap());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let step = |name: &str| match Subject::parse(name) {
        Some(Subject::Step(step)) => Some(step),
        _ => None,
    };
    match words[..] {
        ["try", n] if step(n).is_some() => tell(step(n).unwrap(), Subject::parse(n).unwrap()),
        ["try", n, subject] if step(n).is_some() => match Subject::parse(subject) {
            Some(subject) => tell(step(n).unwrap(), subject),
            None => usage(),
        },
        ["serve", n] => match Subject::parse(n) {
            Some(subject) => serve(subject, "127.0.0.1:8000"),
            None => usage(),
        },
        ["--help" | "-h" | "try" | "serve", ..] => usage(),
        // `cargo test` passes what it is told on: which tests to run, and how.
        _ => {
            let mut filters = words.iter().filter(|word| !word.starts_with('-'));
            let is_meant = filters.all(|filter| "course".contains(filter));
            // The trials look into /proc, and some faults are epoll's.
            if is_meant && cfg!(target_os = "linux") {
                pages::check();
            }
            ExitCode::SUCCESS
        }
    }
}

fn usage() -> ExitCode {
    println!(
        "course try N [M|ours]   what page N is about, done to program N, to program M or to hello-echo\n\
         course serve N          program N, on 127.0.0.1:8000\n\
         N and M are 1 to {STEPS}"
    );
    ExitCode::from(2)
}

fn tell(trial: usize, subject: Subject) -> ExitCode {
    match trials::run(trial, subject, |line| println!("{line}")) {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            println!("try {trial} needs a program from {trial} on");
            ExitCode::from(2)
        }
    }
}

/// Serves as the environment says.
fn child(subject: Subject) -> ExitCode {
    if let Some(most) = std::env::var_os(stage::DESCRIPTORS) {
        let most = most.to_str().unwrap().parse().unwrap();
        rlimit::Resource::NOFILE.set(most, most).unwrap();
    }
    match subject {
        Subject::Ours => hello_echo::program::main(),
        Subject::Step(_) => serve(subject, &std::env::var("HELLO_ECHO_LISTEN").unwrap()),
    }
}

fn serve(subject: Subject, address: &str) -> ExitCode {
    let served = TcpListener::bind(address).and_then(|listener| {
        println!("listening on {}", listener.local_addr()?);
        if std::env::var_os(stage::SERVE).is_some() {
            io::stdin().read_line(&mut String::new())?; // until somebody says go
        }
        subject.serve(listener, settings())
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    if let Ok(greeting) = std::env::var("HELLO_ECHO_GREETING") {
        settings.greeting = greeting.into_bytes();
    }
    if let Ok(timeout) = std::env::var("HELLO_ECHO_TIMEOUT") {
        settings.timeout = humantime::parse_duration(&timeout).unwrap();
    }
    settings
}
