//! The report for the summary of a CI job, as GitHub's own renderer shows it.

use super::*;
use crate::util::{TempPath, have};

/// What GitHub's renderer makes of this, with its tables and its links.
fn rendered(markdown: &str) -> String {
    let mut renderer = Command::new("cmark-gfm");
    renderer.args([
        "--unsafe",
        "-e",
        "table",
        "-e",
        "autolink",
        "-e",
        "strikethrough",
    ]);
    let mut renderer = spawn_with_input(&mut renderer);
    let mut stdin = renderer.stdin.take().unwrap();
    stdin.write_all(markdown.as_bytes()).unwrap();
    drop(stdin);
    let output = util::in_time("the page", || renderer.wait_with_output().unwrap());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn spawn_with_input(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// The cells of the rows of every table, without their elements.
fn cells(html: &str) -> Vec<Vec<String>> {
    let text = |cell: &str| {
        let cell = cell.split_once('>').unwrap().1;
        let cell = cell.replace("<code>", "").replace("</code>", "");
        cell.replace("<!-- -->", "")
            .replace("&amp;", "&")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
    };
    let row = |row: &str| -> Vec<String> {
        let row = row.split("</tr>").next().unwrap();
        let row = row.replace("<th", "<td").replace("</th>", "</td>");
        let cells = row.split("</td>").filter_map(|cell| cell.split_once("<td"));
        cells.map(|(_, cell)| text(cell)).collect()
    };
    html.split("<tr>").skip(1).map(row).collect()
}

#[test]
fn a_right_run_has_its_verdict_and_its_times() {
    if !have("cmark-gfm") {
        return;
    }
    let server = Server::start(&[]);
    let target = &*server.addresses[0];
    let output = output(&mut load(
        "--markdown -n 1500 -r 10k --hold 3 --seed 5",
        &[target],
    ));
    let [markdown, stderr] = said(&output);
    assert_eq!(
        (output.status.code(), &*stderr),
        (Some(0), ""),
        "{markdown}"
    );
    let html = rendered(&markdown);
    assert!(html.starts_with("<h3>✅ 1,503 right, 0 wrong, "), "{html}");
    let command = format!(
        "<p><code>hello-load --markdown -n 1500 -r 10k --hold 3 --seed 5 {target}</code></p>"
    );
    assert!(html.contains(&command), "{html}");
    let cells = cells(&html);
    assert_eq!(
        cells.len(),
        11,
        "the headings, and a row for each time: {html}"
    );
    assert!(cells.iter().all(|row| row.len() == 10), "{html}");
    let row = |name: &str| cells.iter().find(|row| row[0] == name).unwrap();
    assert_eq!(row("total, raw")[9], "1,500");
    assert_eq!(row("held: echo")[9], "3");
    assert_eq!(html.matches("<table>").count(), 1, "{html}");
}

/// A job that fails is not summed up by a green sign: the exchanges were right, but too few or too slow.
#[test]
fn a_condition_that_is_so_is_in_the_report() {
    let (target, _received) = recorder();
    let page = TempPath::new("failed.html");
    let options = ["--html", page.as_str(), "--fail-if", "p99>1h", "--fail-if"];
    let run = |condition: &str| {
        let mut command = load("-n 20 --markdown", &[&target]);
        output(command.args(options).arg(condition))
    };
    let failed = run("right<21");
    let [markdown, stderr] = said(&failed);
    assert_eq!(
        (failed.status.code(), &*stderr),
        (Some(3), "hello-load: right<21: it is 20\n")
    );
    assert!(
        markdown.starts_with("### ❌ 20 right, 0 wrong, "),
        "{markdown}"
    );
    let line = "\n**Failed: right\\<21\\: it is 20**\n";
    assert!(markdown.contains(line), "{markdown}");
    assert!(!markdown.contains("p99\\>1h\\:"), "{markdown}");
    let failed = page.text();
    assert!(
        failed.contains("<h1 class=\"bad\">All 20 right</h1>"),
        "{failed}"
    );
    assert!(
        failed.contains("failed: right&lt;21: it is 20</p>"),
        "{failed}"
    );

    let [markdown, stderr] = said(&run("right<20"));
    assert_eq!(stderr, "");
    assert!(
        markdown.starts_with("### ✅ 20 right, 0 wrong, "),
        "{markdown}"
    );
    assert!(!markdown.contains("Failed"), "{markdown}");
    assert!(page.text().contains("<h1 class=\"good\">All 20 right</h1>"));
}

/// Missed exchanges fail a run, unless a condition tolerates them. An interrupted run has failed.
#[test]
fn the_sign_is_that_of_the_exit_code() {
    let server = Server::start(&[]);
    let target = &*server.addresses[0];
    let page = TempPath::new("sign.html");
    let options = format!("--markdown --html {} -r", page.as_str());
    let check = |output: &Output, sign: &str, code: i32| {
        let [markdown, stderr] = said(output);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(markdown.starts_with(&format!("### {sign} ")), "{markdown}");
        let class = if code == 0 { "good" } else { "bad" };
        let page = page.text();
        assert!(page.contains(&format!("<h1 class=\"{class}\">")), "{page}");
    };
    for (more, sign, code) in [
        ("--fail-if missed>1M", "✅", 0),
        ("--fail-if missed>0", "❌", 3),
        ("", "❌", 3),
    ] {
        let mut command = load(&format!("{options} 10M -d 100ms {more}"), &[target]);
        check(&output(&mut command), sign, code);
    }
    let (target, received) = recorder();
    let child = spawn(&mut load(&format!("{options} 100 -d 1h"), &[&target]));
    received.recv_timeout(PATIENCE).unwrap();
    check(&interrupt(child), "❌", 130);
}

/// Names, and what servers sent, are shown as they are, and mean nothing to the renderer.
#[test]
fn what_others_chose_is_only_text() {
    if !have("cmark-gfm") {
        return;
    }
    let wrong = answering(|_| b"|`*_</code>\x1b[31m www.a.test http://a.test [a](b)".to_vec());
    let odd =
        "unix:/nowhere/|a\\|b`` ``c</code><img src=x>&amp;\u{202e}*d*_e_~~f~~ www.a.test me@a.test";
    let (right, _received) = recorder();
    let output = output(&mut load("--markdown -n 9 -r 1000", &[&right, &wrong, odd]));
    let [markdown, _] = said(&output);
    assert_eq!(output.status.code(), Some(3));
    assert!(!markdown.contains(['\x1b', '\u{202e}']), "{markdown}");
    let html = rendered(&markdown);
    assert!(html.starts_with("<h3>❌ 3 right, 6 wrong, "), "{html}");
    for element in ["<img", "<a ", "<em>", "<strong>", "<del>", "</code></code>"] {
        assert!(!html.contains(element), "{element}: {html}");
    }
    let cells = cells(&html);
    let shown = odd.replace('\u{202e}', "\\u{202e}");
    let row = cells
        .iter()
        .find(|row| row[0] == shown)
        .unwrap_or_else(|| panic!("{html}"));
    assert_eq!(row.len(), 6, "{html}");
    assert_eq!((&*row[1], &*row[5]), ("3", "3 failed_connect"), "{html}");
    assert!(
        cells.contains(&vec!["wrong_echo".to_owned(), "3".to_owned()]),
        "{html}"
    );
    let described = html.matches("<li>").count();
    assert_eq!(described, 6, "{html}");
}

#[test]
fn it_goes_with_no_other_form() {
    for other in ["--json", "--check", "--interval 1s"] {
        let output = output(&mut load(&format!("--markdown {other}"), &["127.0.0.1:1"]));
        assert_eq!(output.status.code(), Some(2), "{other}");
    }
}
