//! Where the connections go to and come from, how many they are, and what they carry.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::*;
use crate::util::{BINARY, TempPath, have, have_descriptors, logging, skip};

#[test]
fn a_hundred_thousand_exchanges() {
    if !have_descriptors(5100) {
        return;
    }
    let server = logging(PATIENT);
    for at_once in [64, 5000] {
        let options = format!("-n 100000 -c {at_once} --payload 1-1000");
        let run = run(&options, &[&server.addresses[0]]);
        assert_right(&run, 100_000);
        assert_eq!(number(&run.0, "most_open"), at_once);
    }
    assert_echoed(server, 200_000);
}

#[test]
fn held_connections_beside_others() {
    if !have_descriptors(16_100) {
        return;
    }
    let server = logging(PATIENT);
    let run = run("--hold 15000 -r 2000 -n 2000", &[&server.addresses[0]]);
    assert_right(&run, 17_000);
    let report = &run.0;
    assert_eq!(number(report, "held"), 15_000);
    assert!(
        (15_001..=17_000).contains(&number(report, "most_open")),
        "{report}"
    );
    assert_eq!(report["latency_us"]["total"]["count"], 2000, "{report}");
    assert_eq!(report["latency_us"]["eof"]["count"], 2000, "{report}");
    let held = &report["latency_us"]["held_eof"]["count"];
    assert_eq!(held, 15_000, "{report}");
    assert_echoed(server, 17_000);
}

/// TCP of both families and a Unix socket, each alone and all in one run.
#[test]
fn every_kind_of_target() {
    let path = TempPath::new("load.sock");
    let unix = format!("unix:{}", path.as_str());
    let mut listen = vec!["127.0.0.1:0", "127.0.0.1:0", &unix];
    if TcpListener::bind("[::1]:0").is_ok() {
        listen.push("[::1]:0");
    } else {
        skip("there is no IPv6");
    }
    let mut command = Command::new(BINARY);
    listen.iter().for_each(|address| {
        command.args(["--listen", address]);
    });
    command.args(PATIENT);
    command.env("RUST_LOG", "info").stderr(Stdio::piped());
    let server = Server::spawn(listen.len(), &mut command);
    let targets: Vec<&str> = server.addresses.iter().map(|address| &**address).collect();
    let mut exchanges = 0;
    for some in targets.chunks(1).chain([&targets[..2], &targets[..]]) {
        println!("{some:?}");
        assert_right(&run("-n 200 -c 20 --payload 1-1000", some), 200);
        exchanges += 200;
    }
    assert_echoed(server, exchanges);
}

#[test]
fn targets_have_their_turns() {
    let recorders = [recorder(), recorder()];
    let run = run("-n 20 -c 4", &[&recorders[0].0, &recorders[1].0]);
    assert_right(&run, 20);
    for (_, received) in recorders {
        assert_eq!(received.try_iter().count(), 10);
    }
}

#[test]
fn a_seed_makes_the_payloads() {
    let (address, received) = recorder();
    let payloads = |options: &str| -> BTreeSet<Vec<u8>> {
        assert_right(&run(options, &[&address]), 20);
        received.try_iter().map(|(_, payload)| payload).collect()
    };
    let first = payloads("-n 20 -c 4 --seed 7");
    assert_eq!(first.len(), 20, "each its own");
    assert_eq!(payloads("-n 20 -c 4 --seed 7"), first);
    assert!(payloads("-n 20 -c 4 --seed 8").is_disjoint(&first));
    assert!(
        payloads("-n 20 -c 4").is_disjoint(&first),
        "no two runs are the same"
    );
}

/// A run without a seed says which it took.
#[test]
fn the_seed_is_told() {
    let server = Server::start(&[]);
    let target = &server.addresses[0];
    let [seed, other] = [(); 2].map(|()| number(&run("-n 1", &[target]).0, "seed"));
    assert_ne!(seed, other, "of two runs");
    let again = output(&mut load(&format!("-n 1 --seed {seed}"), &[target]));
    let [stdout, _] = said(&again);
    assert!(stdout.contains(&format!("; seed {seed}\n")), "{stdout}");
}

#[test]
fn sources_have_their_turns() {
    let (address, received) = recorder();
    assert_right(&run("-n 50 -c 4 --source 127.0.0.0/8", &[&address]), 50);
    let mut from: Vec<_> = received.try_iter().map(|(peer, _)| peer.ip()).collect();
    from.sort_unstable();
    let expected: Vec<_> = (1..=50)
        .map(|last| Ipv4Addr::new(127, 0, 0, last))
        .collect();
    assert_eq!(from, expected);
}

/// With every second port first, a connect looks at all the others' ports in vain where many are held.
#[test]
fn ports_are_taken_as_they_come() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|n| n.parse::<u32>().ok());
    if numbers.next().zip(numbers.next()) < Some((6, 8)) {
        skip("before Linux 6.8 connect takes the even ports first");
        return;
    }
    let (address, received) = recorder();
    for source in ["", "--source 127.0.0.2"] {
        assert_right(&run(&format!("-n 50 -c 4 {source}"), &[&address]), 50);
        let ports = received.try_iter().map(|(peer, _)| peer.port());
        let odd = ports.filter(|port| port % 2 == 1).count();
        assert!((1..50).contains(&odd), "{odd} of 50 are odd");
    }
}

/// Where the first address of a name is dead, the server may be at another.
#[test]
fn a_name_is_looked_for_at_all_its_addresses() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-ec"]);
    let (hosts, name) = (TempPath::new("hosts"), "two-addresses.test");
    // No other test listens at these, whatever the port.
    let addresses = ["127.77.0.1", "127.77.0.2"];
    let lines = addresses.map(|address| format!("{address} {name}\n"));
    std::fs::write(&hosts.0, lines.concat()).unwrap();
    unshare.arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"");
    unshare.arg(&hosts.0);
    let with_hosts = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(unshare.get_args()).arg(program);
        command.args(arguments);
        output(&mut command)
    };
    if !have("unshare") {
        return;
    }
    if !with_hosts("true", &[]).status.success() {
        skip("no mount namespace may be made here");
        return;
    }
    for host in addresses {
        let server = Server::start_listening(1, &["--listen", &format!("{host}:0")]);
        let target = format!("{name}:{}", server.address().port());
        let check = with_hosts(LOAD, &["--check", &target]);
        assert_eq!(check.status.code(), Some(0), "{host}: {check:?}");
        let many = report(&with_hosts(LOAD, &["-n", "200", "--json", &target]));
        assert_eq!(number(&many, "right"), 200, "{host}: {many}");
    }
    let target = format!("{name}:1");
    let nowhere = report(&with_hosts(LOAD, &["-n", "20", "--json", &target]));
    assert_eq!(nowhere["wrong"], serde_json::json!({ "refused": 20 }));
}
