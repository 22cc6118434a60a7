//! What a user writes: command lines, addresses, greetings. None of it may panic, and what was
//! understood, written down again, is understood as the same.
//!
//! The first byte of the input says what the rest of it is. For the variables `HELLO_ECHO_*` there
//! is no input: leave them unset.

#![no_main]

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::LazyLock;
use std::time::Duration;

use hello_echo::hello::{MAX_MESSAGE, Settings};
use hello_echo::program::cli::{self, Arguments};
use hello_echo::{Address, Config};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| match input {
    [b'a', text @ ..] => as_text(text, check_address),
    [b't', text @ ..] => as_text(text, check_text),
    [b'g', greeting @ ..] => check_greeting(greeting),
    [b'l', start @ ..] => check_longest(start),
    [b'o', line @ ..] => check_line(line),
    _ => {}
});

fn as_text(bytes: &[u8], check: fn(&str)) {
    if let Ok(text) = str::from_utf8(bytes) {
        check(text);
    }
}

fn check_address(text: &str) {
    let Ok(address) = text.parse::<Address>() else {
        return;
    };
    let written = address.to_string();
    let again: Address = written.parse().expect("what is written parses");
    assert_eq!(again, address);
    // Paths that differ may be equal: `a//b` and `a/b` are.
    assert_eq!(again.to_string(), written);
}

fn check_text(text: &str) {
    let unescaped = cli::unescape(text);
    if !text.contains('\\') {
        assert_eq!(unescaped.as_deref(), Ok(text.as_bytes()));
    }
    if let Ok(greeting) = unescaped {
        assert!(greeting.len() <= text.len(), "an escape makes one byte");
        check_greeting(&greeting);
    }
}

fn check_greeting(greeting: &[u8]) {
    let unescaped = cli::unescape(&escaped(greeting));
    assert_eq!(unescaped.as_deref(), Ok(greeting));
}

/// Greetings at the limit, which no input of libFuzzer's usual length would reach.
fn check_longest(start: &[u8]) {
    static REST: LazyLock<String> = LazyLock::new(|| "a".repeat(MAX_MESSAGE + 1));
    let mut text = escaped(start) + &REST[start.len()..];
    assert!(cli::unescape(&text).is_err());
    text.pop();
    let longest = cli::unescape(&text);
    assert_eq!(longest.map(|greeting| greeting.len()), Ok(MAX_MESSAGE));
}

fn escaped(greeting: &[u8]) -> String {
    let mut text = String::new();
    for &byte in greeting {
        match byte {
            b'\n' => text += r"\n",
            b'\r' => text += r"\r",
            b'\t' => text += r"\t",
            0 => text += r"\0",
            b'\\' => text += r"\\",
            b' '..=b'~' => text.push(byte.into()),
            _ => write!(text, r"\x{byte:02x}").expect("a String takes it all"),
        }
    }
    text
}

/// `line` holds arguments with NULs between them.
fn check_line(line: &[u8]) {
    let arguments = line.split(|&byte| byte == 0).map(argument);
    let program = OsString::from("hello-echo");
    match cli::parse(std::iter::once(program).chain(arguments)) {
        Ok(options) => {
            check_limits(&options.config, &options.hello);
            let again = cli::parse(written(&options)).expect("what is written parses");
            assert_eq!(format!("{again:?}"), format!("{options:?}"));
        }
        Err(error) => {
            assert!(matches!(error.exit_code(), 0 | 2));
            assert!(!error.to_string().is_empty());
        }
    }
}

/// The names of the options, so that the fuzzer need not find them letter by letter.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let table = cli::command();
    let names = table.get_arguments().filter_map(|option| option.get_long());
    names.map(|name| format!("--{name}")).collect()
});

/// An argument that begins with a byte of 1, 2 and so on begins with the first, second name.
fn argument(bytes: &[u8]) -> OsString {
    let name = bytes
        .split_first()
        .and_then(|(&first, rest)| Some((NAMES.get(usize::from(first).checked_sub(1)?)?, rest)));
    match name {
        Some((name, rest)) => OsString::from_vec([name.as_bytes(), rest].concat()),
        None => OsStr::from_bytes(bytes).into(),
    }
}

/// What `Server::bind` would refuse is wrong usage, and told as that.
fn check_limits(config: &Config, hello: &Settings) {
    assert!(!config.listen.is_empty());
    assert!(hello.greeting.len() <= MAX_MESSAGE);
    assert!((1..=MAX_MESSAGE).contains(&hello.max_read));
    assert!(i32::try_from(config.backlog).is_ok_and(|backlog| backlog >= 1));
    assert_ne!(config.max_connections, Some(0));
    assert!(config.stats.is_zero() || config.stats >= Duration::from_millis(10));
}

/// The command line that asks for all of this.
fn written(arguments: &Arguments) -> Vec<String> {
    let Arguments { config, hello, .. } = arguments;
    let mut line = vec![
        "hello-echo".to_owned(),
        format!("--greeting={}", escaped(&hello.greeting)),
        format!("--max-read={}", hello.max_read),
        format!("--backlog={}", config.backlog),
        format!("--timeout={}", duration(hello.timeout)),
        format!("--linger={}", duration(config.linger)),
        format!("--grace={}", duration(config.grace)),
        format!("--stats={}", duration(config.stats)),
    ];
    let listen = config
        .listen
        .iter()
        .map(|address| format!("--listen={address}"));
    line.extend(listen);
    let most = config
        .max_connections
        .map(|n| format!("--max-connections={n}"));
    line.extend(most);
    line.extend(config.reuse_port.then(|| "--reuse-port".to_owned()));
    let metrics = config.metrics.as_ref();
    line.extend(metrics.map(|address| format!("--metrics={address}")));
    let format = format!("{:?}", arguments.log_format).to_lowercase();
    line.push(format!("--log-format={format}"));
    let level = arguments.log_level.map(|level| level.as_str());
    line.extend(level.map(|level| match level {
        "TRACE" => "-vv".to_owned(),
        "DEBUG" => "-v".to_owned(),
        "WARN" => "-q".to_owned(),
        "ERROR" => "-qq".to_owned(),
        _ => "-qqq".to_owned(),
    }));
    line
}

fn duration(duration: Duration) -> String {
    format!("{}s {}ns", duration.as_secs(), duration.subsec_nanos())
}
