//! The files of packaging/ agree with the programs, and the tools that they are for accept them.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap_complete::Shell;

use crate::util::{BINARY, Client, have, output};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");

/// The tables of options.
fn programs() -> Vec<clap::Command> {
    vec![
        hello_echo::program::cli::command(),
        #[cfg(feature = "load")]
        hello_echo::load::cli::command(),
    ]
}

fn file(path: &str) -> String {
    format!("{PACKAGING}/{path}")
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The committed file has this text, or gets it with UPDATE.
fn assert_is(path: &str, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file(path), text).unwrap();
    }
    assert!(
        read(path) == text,
        "packaging/{path} is not up to date; `UPDATE=1 cargo test packaging::` makes it so"
    );
}

/// The output of a tool that succeeds, on stdout and on stderr.
fn run(tool: &mut Command) -> (String, String) {
    let output = output(tool);
    let [said, complaints] = [output.stdout, output.stderr].map(|s| String::from_utf8(s).unwrap());
    assert!(output.status.success(), "{tool:?}: {said}{complaints}");
    (said, complaints)
}

fn assert_silent(tool: &mut Command) {
    assert_eq!(run(tool), (String::new(), String::new()), "{tool:?}");
}

#[test]
fn man_pages_have_the_options() {
    for program in programs() {
        let path = format!("man/{}.1", program.get_name());
        assert_is(&path, &with_options(&read(&path), program));
    }
}

/// The sections of a man page that the table of options makes. The rest is written by hand.
const GENERATED: [&str; 3] = ["NAME", "SYNOPSIS", "OPTIONS"];

const MADE_BY: &str = r#".\" NAME, SYNOPSIS and OPTIONS are made by tests/suite/packaging.rs, from the table of options."#;

/// No name of an option or a variable is broken at the end of a line.
const LEGIBLE: &str = ".nh\n.ad l";

/// The page, with these sections and everything before the first one made anew.
fn with_options(page: &str, mut program: clap::Command) -> String {
    let usage = program.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap().to_owned();
    let mut made = Vec::new();
    let man = clap_mangen::Man::new(program.override_usage(usage))
        .date(r#""""#) // the date of a page's making says nothing, and without one the rest moves up
        .manual("User Commands");
    man.render(&mut made).unwrap();
    let made = String::from_utf8(made).unwrap();
    let made: Vec<&str> = sections(&made).collect();
    let mut missing = GENERATED.to_vec();
    let page: Vec<&str> = sections(page)
        .map(|by_hand| {
            let heading = by_hand.lines().next().unwrap();
            missing.retain(|name| *name != heading);
            let is_made = |section: &&&str| section.lines().next() == Some(heading);
            match made.iter().find(is_made) {
                Some(made) if GENERATED.contains(&heading) => *made,
                _ => by_hand,
            }
        })
        .collect();
    assert!(missing.is_empty(), "no section {missing:?} in the man page");
    format!(
        "{MADE_BY}\n{}\n{LEGIBLE}\n.SH {}\n",
        made[0],
        page[1..].join("\n.SH ")
    )
}

/// A man page from one heading to the next; the first has none.
fn sections(page: &str) -> impl Iterator<Item = &str> {
    page.split("\n.SH ").map(str::trim_end)
}

#[test]
fn completions_have_the_options() {
    for mut program in programs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let name = program.get_name().to_owned();
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut program, &name, &mut script);
            let path = format!("completions/{}", file_name(shell, &name));
            assert_is(&path, &String::from_utf8(script).unwrap());
        }
    }
}

fn file_name(shell: Shell, program: &str) -> String {
    use clap_complete::Generator;
    shell.file_name(program)
}

/// man(1) itself does not complain of an example that has no end, or of a text that is set like one.
#[test]
fn examples_in_man_pages_end() {
    for program in programs() {
        let page = read(&format!("man/{}.1", program.get_name()));
        let examples: Vec<&str> = page.split("\n.RS\n.EX\n").skip(1).collect();
        assert!(examples.len() > 3);
        for example in examples {
            let (example, behind) = example.split_once("\n.EE\n.RE\n").unwrap();
            assert!(!example.contains("\n."), "it goes on: {example}");
            let ends = [".PP\n", ".SH ", ".SS "]
                .iter()
                .any(|end| behind.starts_with(end));
            assert!(ends, "no paragraph begins behind it: {example}");
        }
    }
}

#[test]
fn man_pages_are_sound() {
    for program in programs() {
        let page = file(&format!("man/{}.1", program.get_name()));
        if have("man") {
            let mut man = Command::new("man");
            man.args(["--warnings", "-E", "UTF-8", "-l", &page]);
            let (text, complaints) = run(man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80"));
            assert_eq!(complaints, "");
            for heading in ["NAME", "OPTIONS", "SIGNALS", "EXIT STATUS", "EXAMPLES"] {
                let found = text.lines().any(|line| line == heading);
                assert!(found, "{page} has no {heading}");
            }
        }
        if have("mandoc") {
            let lint = output(Command::new("mandoc").args(["-T", "lint", "-W", "warning", &page]));
            let said = String::from_utf8(lint.stdout).unwrap();
            let wrong = |line: &&str| !line.contains("missing date");
            assert_eq!(said.lines().find(wrong), None);
        }
    }
}

/// In a terminal: the option is completed, and the program gets it whole.
#[test]
fn bash_and_zsh_complete() {
    let shells = [
        (Shell::Bash, "bash --norc --noprofile -i", "source ", " "),
        (
            Shell::Zsh,
            "zsh -f -i",
            "autoload -Uz compinit; compinit -D -u; source ",
            "=",
        ),
    ];
    for (shell, start, setup, separator) in shells {
        for program in programs() {
            let name = program.get_name();
            if !have(&shell.to_string()) || !have("script") {
                continue;
            }
            let script = file(&format!("completions/{}", file_name(shell, name)));
            run(Command::new(shell.to_string()).args(["-n", &script]));
            let mut terminal = Client::start("script", &["-qec", start, "/dev/null"]);
            // The terminal shows what is typed, too, so the typed text must differ from the text
            // that is waited for.
            let stand_in = format!("{name}() {{ echo got \"<$*>\"; }}");
            terminal.send(format!("{stand_in}; {setup}{script}; echo re''ady\n").as_bytes());
            terminal.expect("ready\r\n");
            terminal.send(format!("{name} --gree\tx --time\t5s\n").as_bytes());
            terminal.expect(&format!(
                "got <--greeting{separator}x --timeout{separator}5s>"
            ));
        }
    }
}

#[test]
fn fish_completes() {
    for program in programs() {
        if have("fish") {
            let name = program.get_name();
            let script = file(&format!("completions/{}", file_name(Shell::Fish, name)));
            let line = format!("source '{script}'; complete -C '{name} --gree'");
            let (said, complaints) = run(Command::new("fish").args(["--no-config", "-c", &line]));
            assert!(said.starts_with("--greeting\tWhat "), "{said}{complaints}");
        }
    }
}

#[test]
fn systemd_units_are_sound() {
    if !have("systemd-analyze") {
        return;
    }
    // Copies, side by side, that name a program which exists.
    let units = [
        ("hello-echo.service", "hello-echo.service"),
        ("hello-echo.socket", "hello-echo.socket"),
        ("hello-load@.service", "hello-load@an-instance.service"),
    ];
    let units = units.map(|(unit, name)| {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let text = read(&format!("systemd/{unit}")).replace("/usr/bin/hello-echo", BINARY);
        fs::write(&copy, text.replace("/usr/bin/hello-load", BINARY)).unwrap();
        copy
    });
    let mut analyze = Command::new("systemd-analyze");
    assert_silent(analyze.args(["verify", "--man=no"]).args(units));
}

/// Of 100, where 0 is a service that can do nothing. The rest is what the server needs: the
/// network, any address, sockets of the two kinds, /proc/sys.
const EXPOSURE: &str = "11";

#[test]
fn the_services_have_few_rights() {
    if have("systemd-analyze") {
        for unit in ["hello-echo.service", "hello-load@.service"] {
            let mut analyze = Command::new("systemd-analyze");
            analyze.args(["security", "--offline=true", "--threshold", EXPOSURE]);
            run(analyze.arg(file(&format!("systemd/{unit}"))));
        }
    }
}

/// The service's own command line, with the options that it has by default and those that it suggests.
#[cfg(feature = "load")]
#[test]
fn the_load_service_runs() {
    let unit = read("systemd/hello-load@.service");
    let after = |start: &str| {
        let found = unit.lines().find_map(|line| line.split_once(start));
        found.unwrap().1.trim_matches('"')
    };
    let command = after("ExecStart=/usr/bin/");
    for options in [after("Environment=\"OPTIONS="), after("#   OPTIONS=")] {
        let command = command.replace("$OPTIONS", options);
        let command = command.replace("%I", "my-host:8000");
        let invocation = hello_echo::load::cli::parse(command.split(' ')).unwrap();
        assert_eq!(invocation.options.targets.len(), 1, "{command}");
        assert_eq!(invocation.options.targets[0].to_string(), "my-host:8000");
        assert!(invocation.options.plan.rate.is_some(), "{command}");
        assert!(invocation.interval.is_some(), "{command}");
    }
}

#[test]
fn the_container_file_is_sound() {
    if have("hadolint") {
        assert_silent(Command::new("hadolint").arg(file("Containerfile")));
    }
    // The files that it copies are enough for cargo, which needs every file that Cargo.toml names.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("container");
    let _ = fs::remove_dir_all(&build);
    fs::create_dir(&build).unwrap();
    let text = read("Containerfile");
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY "));
    for copy in copies.filter(|copy| !copy.starts_with("--from")) {
        let paths = copy.split(' ').collect::<Vec<_>>();
        let (target, sources) = paths.split_last().unwrap();
        let mut cp = Command::new("cp");
        cp.arg("-r")
            .args(sources.iter().map(|path| root.join(path)));
        assert_silent(cp.arg(build.join(target)));
    }
    // For one target, because the crates that only others need may be missing. Any Linux will do.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["fetch", "--offline", "--locked", "--target", &target]);
    run(cargo.current_dir(build));
}

#[test]
fn the_kubernetes_manifest_is_valid() {
    if have("kubernetes-validate") {
        let mut validate = Command::new("kubernetes-validate");
        validate.args(["--strict", &file("kubernetes.yaml")]);
        let (said, _) = run(&mut validate);
        for kind in ["deployment", "service", "poddisruptionbudget"] {
            assert!(said.contains(&format!("passed for resource {kind}/hello-echo")));
        }
        let mut validate = Command::new("kubernetes-validate");
        validate.args(["--strict", &file("kubernetes-load.yaml")]);
        let (said, _) = run(&mut validate);
        assert!(
            said.contains("passed for resource job/hello-load"),
            "{said}"
        );
    }
}

/// The programs know what the other files set and ask of them, and have that version.
#[test]
fn the_programs_take_what_they_are_told() {
    let help = hello_echo::program::cli::command()
        .render_help()
        .to_string();
    for path in [
        "Containerfile",
        "kubernetes.yaml",
        "kubernetes-load.yaml",
        "systemd/hello-echo.service",
    ] {
        let text = read(path);
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        let is_ours = |word: &&str| word.len() > 11 && word.starts_with("HELLO_ECHO_");
        for variable in words.filter(is_ours) {
            let in_help = format!("[{variable}, ");
            assert!(help.contains(&in_help), "{path}: {variable}");
        }
        let tags = |tag: &str| text.matches(tag).count();
        let of_version = format!("hello-echo:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            tags("hello-echo:") - tags("hello-echo:8000"),
            tags(&of_version),
            "{path}: the version"
        );
        #[cfg(feature = "load")]
        for (at, _) in text.match_indices(r#"["/usr/bin/hello-load""#) {
            let command = text[at..].lines().next().unwrap();
            let command: Vec<String> = serde_json::from_str(command).unwrap();
            let invocation = hello_echo::load::cli::parse(&command);
            let is_used = invocation.is_ok_and(|i| i.check || i.json);
            assert!(is_used, "{path}: {command:?}");
        }
    }
}
