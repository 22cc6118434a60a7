//! The clients that people really use, against the shipped binary.

use crate::util::{Client, Server, TempPath, have};

const LINE: &str = "hi back atcha\n";

/// Starts the client, lets it send a line once it is greeted, and lets it end by itself.
///
/// `fin`: its input ends after the line, so it may send a FIN. Otherwise only the server's FIN can
/// end its output.
fn check(program: &str, arguments: &[&str], fin: bool) {
    let mut client = Client::start(program, arguments);
    client.expect("hello\n").send(LINE.as_bytes());
    if fin {
        client.end_input();
    }
    assert_session(client, program, arguments);
}

/// As [`check`], with everything sent at once, before the greeting is seen.
fn check_piped(program: &str, arguments: &[&str]) {
    let mut client = Client::start(program, arguments);
    client.send(LINE.as_bytes()).end_input();
    assert_session(client, program, arguments);
}

/// It showed the greeting and the echo and nothing else, and succeeded.
fn assert_session(mut client: Client, program: &str, arguments: &[&str]) {
    let (output, status) = client.finish();
    assert_eq!(output, format!("hello\n{LINE}"), "{program} {arguments:?}");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

/// OpenBSD's nc by its own name, because `nc` may be any of three.
#[test]
fn openbsd_nc() {
    if !have("nc.openbsd") {
        return;
    }
    let server = Server::start(&[]);
    let port = server.address().port().to_string();
    // Without -N it sends no FIN before the server's FIN; it stays until its input ends.
    check("nc.openbsd", &["127.0.0.1", &port], true);
    check_piped("nc.openbsd", &["127.0.0.1", &port]);
    // With -N its FIN follows its input.
    check("nc.openbsd", &["-N", "127.0.0.1", &port], true);
    check_piped("nc.openbsd", &["-N", "127.0.0.1", &port]);
}

#[test]
fn openbsd_nc_over_a_unix_socket() {
    if !have("nc.openbsd") {
        return;
    }
    let path = TempPath::new("nc.sock");
    let _server = Server::start_listening(1, &["-l", &format!("unix:{}", path.as_str())]);
    check("nc.openbsd", &["-U", path.as_str()], true);
    check_piped("nc.openbsd", &["-N", "-U", path.as_str()]);
}

#[test]
fn nmap_ncat() {
    if !have("ncat") {
        return;
    }
    let server = Server::start(&[]);
    let port = server.address().port().to_string();
    check("ncat", &["127.0.0.1", &port], true);
    check("ncat", &["127.0.0.1", &port], false);
    check_piped("ncat", &["127.0.0.1", &port]);
    check_piped("ncat", &["--no-shutdown", "127.0.0.1", &port]);
}

#[test]
fn socat() {
    if !have("socat") {
        return;
    }
    let server = Server::start(&[]);
    let target = format!("TCP:{}", server.address());
    check("socat", &["-", &target], true);
    check("socat", &["-", &target], false);
    check_piped("socat", &["-", &target]);
}

#[test]
fn bash_dev_tcp() {
    if !have("bash") {
        return;
    }
    let server = Server::start(&[]);
    let port = server.address().port();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; read -r line <&3; echo \"$line\"; \
         cat <&0 >&3; cat <&3"
    );
    check("bash", &["-c", &script], true);
    let script =
        format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'hi back atcha\\n' >&3; cat <&3");
    let arguments = ["-c", &script];
    assert_session(Client::start("bash", &arguments), "bash", &arguments);
}

/// Telnet with a pipe for its input, which stays open. The README's session runs in a terminal.
#[test]
fn telnet_in_a_pipe() {
    if !have("telnet") {
        return;
    }
    let server = Server::start(&[]);
    let telnet = format!("exec telnet 127.0.0.1 {} 2>&1", server.address().port());
    let mut client = Client::start("sh", &["-c", &telnet]);
    client.expect("hello").send(LINE.as_bytes());
    let (output, _) = client.finish();
    let session = output.replace('\r', "");
    let end = "hello\nhi back atcha\nConnection closed by foreign host.\n";
    assert!(session.ends_with(end), "{session}");
}
