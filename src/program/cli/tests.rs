use super::*;

fn parsed(arguments: &[&str]) -> clap::error::Result<Arguments> {
    parse(["hello-echo"].iter().chain(arguments))
}

#[test]
fn the_table_is_sound() {
    command().debug_assert();
}

#[test]
fn without_options_it_is_the_default() {
    let Arguments {
        config,
        hello,
        log_level,
        ..
    } = parsed(&[]).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    assert_eq!(format!("{hello:?}"), format!("{:?}", Settings::default()));
    assert_eq!(log_level, None);
}

#[test]
fn every_option_arrives() {
    let line = "-l 127.0.0.1:1 --listen unix:/a,b -l [::]:2 --greeting=-\\x00 --max-read 1048576 \
                --backlog 1 --timeout 0 --linger 1m500ms -vv";
    let Arguments {
        config,
        hello,
        log_level,
        ..
    } = parsed(&line.split(' ').collect::<Vec<_>>()).unwrap();
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:1", "unix:/a,b", "[::]:2"]);
    assert_eq!(hello.greeting, b"-\0");
    assert_eq!((hello.max_read, config.backlog), (MAX_MESSAGE, 1));
    assert_eq!(hello.timeout, Duration::ZERO);
    assert_eq!(config.linger, Duration::from_millis(60_500));
    assert_eq!(log_level, Some(LevelFilter::Trace));
}

#[test]
fn limits_are_part_of_the_usage() {
    let allowed = [
        "--max-read 1",
        "--max-read 1Mi --backlog 4k --max-connections 1M",
        "--reuse-port",
        "--reuse-port=no",
        "--backlog 2147483647",
        "--linger 0",
        "--linger 0s",
        "--stats 0",
        "--stats 10ms",
        "-qqqq",
    ];
    for line in allowed {
        assert!(
            parsed(&line.split(' ').collect::<Vec<_>>()).is_ok(),
            "{line}"
        );
    }
    let refused = [
        "--max-read 0",
        "--max-read 1048577",
        "--max-read 1.5k",
        "--max-read +1",
        "--max-read 2Mi",
        "--max-read",
        "--backlog 0",
        "--backlog 2147483648",
        "--backlog -1",
        "--linger 2",
        "--linger -1s",
        "--timeout 1",
        "--stats 9ms",
        "--listen 8000",
        "--listen",
        "-v -q",
        "--greeting \\q",
        "--no-such-option",
        "stray",
    ];
    for line in refused {
        let error = parsed(&line.split(' ').collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

/// We read the variable of the address, and clap does not.
#[test]
fn an_empty_list_of_addresses_is_none() {
    let read = |variable: &str| {
        let line = ["hello-echo".into()];
        let mut matches = usage::matches(command(), &line).unwrap();
        let addresses = listen(&mut matches, Some(variable.into()));
        addresses.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(read("").unwrap(), ["127.0.0.1:8000"]);
    assert_eq!(read("a:1,b:2").unwrap(), ["a:1", "b:2"]);
    assert!(read(",").is_err());
}
