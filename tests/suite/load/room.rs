//! Few descriptors, few ports, and more to do than can be done in time.

use super::*;
use crate::util::{TempPath, in_a_network, logging};

/// Runs it with so many descriptors at most.
fn limited(descriptors: u32, options: &str, target: &str) -> Output {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, LOAD, "--json"]);
    output(command.args(options.split(' ')).arg(target))
}

/// What it says that it can open, it can; and an open loop that would need more is late.
#[test]
fn it_keeps_to_its_room() {
    let server = logging(PATIENT);
    let target = &server.addresses[0];
    let [_, stderr] = said(&limited(64, "--hold 64", target));
    let room = stderr.strip_prefix("hello-load: can open ").unwrap();
    let room: u64 = room.split(' ').next().unwrap().parse().unwrap();
    let all = limited(64, &format!("--hold {room}"), target);
    assert_eq!(number(&report(&all), "most_open"), room);
    let more = limited(64, &format!("--hold {}", room + 1), target);
    assert_eq!(more.status.code(), Some(1), "{more:?}");
    let late = limited(64, "-r 1000000 -n 1000 --hold 10", target);
    let [_, stderr] = said(&late);
    assert!(stderr.starts_with(&format!("can open {room} ")), "{stderr}");
    assert_eq!(
        (number(&report(&late), "right"), late.status.code()),
        (1010, Some(0))
    );
    let latency = &report(&late)["latency_us"];
    let max = |row: &str| latency[row]["max"].as_f64().unwrap();
    assert!(max("total") > max("total_raw"), "{latency}");
    assert_echoed(server, room + 1010);
}

/// The threads share the descriptors, and each has some of its own.
#[test]
fn threads_keep_to_their_room() {
    let server = logging(PATIENT);
    let target = &server.addresses[0];
    let [_, stderr] = said(&limited(128, "--threads 9 --hold 128", target));
    let room = stderr.strip_prefix("hello-load: can open ").unwrap();
    let room: u64 = room.split(' ').next().unwrap().parse().unwrap();
    assert!((20..128 - 9 * 3).contains(&room), "{stderr}");
    let all = limited(128, &format!("--threads 9 --hold {room}"), target);
    assert_eq!(number(&report(&all), "most_open"), room);
    assert!(report(&all)["waited_s"].as_object().unwrap().is_empty());
    assert_echoed(server, room);
}

/// More than any machine can do: it ends all the same, and says what it did not do.
#[test]
fn an_open_loop_says_what_it_owes() {
    let server = Server::start(&[]);
    let target = &*server.addresses[0];
    let (report, code) = run("-r 10M -d 100ms", &[target]);
    assert_eq!(code, Some(3), "{report}");
    let missed = number(&report, "missed");
    assert_eq!(missed + number(&report, "opened"), 1_000_000, "{report}");
    let output = output(&mut load("-r 10M -d 100ms --fail-if right<1M", &[target]));
    let [stdout, _] = said(&output);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout.contains("\nfell behind: "), "{stdout}");
    assert!(stdout.contains(" were never begun\n"), "{stdout}");
}

const FEW_PORTS: &str = "echo 40000 40019 >/proc/sys/net/ipv4/ip_local_port_range
    ip address add 10.9.0.1/32 dev lo
    ip address add 127.0.0.4/30 dev lo || true";

#[test]
fn with_few_ports() {
    in_a_network(PATIENCE, FEW_PORTS, with_few_ports_in_a_network);
}

#[test]
#[ignore = "with_few_ports runs it in a network of its own"]
fn with_few_ports_in_a_network() {
    assert_rooms_are_as_said();
    // The side that closes first keeps the port, for a minute, and here that is the client.
    let wrong =
        Server::start_listening(1, &["--listen", "10.9.0.1:8001", "--greeting", "hullo\\n"]);
    let options = "-n 23 -c 4 --timeout 300ms";
    let (report, code) = run(options, &[&wrong.addresses[0]]);
    let expected = serde_json::json!({ "wrong_greeting": 20, "timed_out_connect": 3 });
    assert_eq!((&report["wrong"], code), (&expected, Some(3)), "{report}");
    let waited = report["waited_s"]["port"].as_f64().unwrap();
    assert!(waited >= 0.9, "{report}");
    let described = report["described"].to_string();
    assert!(
        described.contains("no local port was left; see --source"),
        "{described}"
    );
    // Where the range has the target's own port, a connect may meet itself.
    let (report, code) = run("-n 40 -c 2 --timeout 200ms", &["127.0.0.1:40007"]);
    let expected = serde_json::json!({ "refused": 40 });
    assert_eq!((&report["wrong"], code), (&expected, Some(3)), "{report}");
    assert!(
        report["described"].to_string().contains("refused"),
        "{report}"
    );
}

/// As many as it says that there is room for, there is.
fn assert_rooms_are_as_said() {
    let path = TempPath::new("room.sock");
    let unix = format!("unix:{}", path.as_str());
    let mut listen = vec!["--listen", "127.0.0.1:8000", "--listen", &unix];
    listen.extend(["--listen", "[::1]:8000"]);
    let _server = Server::start_listening(3, &listen);
    let few = "--source 127.0.0.1 --source 127.0.0.4/30";
    for (room, options, targets) in [
        (20, "", &["127.0.0.1:8000"][..]),
        (20, "", &["127.0.0.1:8000", "127.0.0.1:8000"]),
        (40, "", &["127.0.0.1:8000", "[::1]:8000"]),
        (40, "", &["127.0.0.1:8000", &unix]),
        (60, few, &["127.0.0.1:8000"]),
        (
            40,
            "--source 127.0.0.4/30 --source ::1",
            &["127.0.0.1:8000", "[::1]:8000"],
        ),
    ] {
        let [_, stderr] = said(&output(&mut load(&format!("--hold 1M {options}"), targets)));
        assert!(
            stderr.starts_with(&format!("hello-load: can open {room} connections")),
            "{stderr}"
        );
        let all = run(&format!("--hold {room} --timeout 5s {options}"), targets);
        assert_right(&all, room);
    }
}
