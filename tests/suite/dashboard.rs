//! The dashboard of packaging/grafana.json shows what the programs serve.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::util::{self, Server, TempPath, connect_unix, have};

const LOAD: &str = env!("CARGO_BIN_EXE_hello-load");

fn dashboard() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/grafana.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(list: &Value) -> Vec<&Value> {
    list.as_array().unwrap().iter().collect()
}

/// What the panels ask Prometheus, with the title of each panel.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let panels = texts(&dashboard["panels"]).into_iter();
    let panels = panels.filter(|panel| panel["type"] != "row");
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = texts(&panel["targets"]).into_iter();
        let asked = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
        asked
            .map(move |expr| (title.clone(), expr))
            .collect::<Vec<_>>()
    };
    panels.flat_map(of_panel).collect()
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    let ours = |word: &&str| word.starts_with("hello_echo_") || word.starts_with("hello_load_");
    words.filter(ours).map(str::to_owned).collect()
}

/// What is served on a Unix socket at this path.
fn page(path: &TempPath) -> String {
    let mut stream = connect_unix(path);
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, page) = answer.split_once("\r\n\r\n").unwrap();
    page.to_owned()
}

/// The pages of both programs.
fn pages() -> String {
    let [echo, load] = ["dashboard-echo.sock", "dashboard-load.sock"].map(TempPath::new);
    let at = |path: &TempPath| format!("unix:{}", path.as_str());
    let server = Server::start(&["--metrics", &at(&echo)]);
    let mut run = Command::new(LOAD);
    run.args(["-d", "1h", "-r", "1", "--metrics", &at(&load)]);
    let run = run.arg(&server.addresses[0]);
    let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap());
    said.read_line(&mut String::new()).unwrap(); // where the metrics are
    let pages = page(&echo) + &page(&load);
    run.kill().unwrap();
    run.wait().unwrap();
    pages
}

/// Every name on the dashboard, and every label, is served, and all that is served is on it.
#[test]
fn it_shows_what_is_served() {
    let (dashboard, pages) = (dashboard(), pages());
    let samples = pages.lines().filter(|line| !line.starts_with('#'));
    let served = metrics(&samples.collect::<Vec<_>>().join("\n"));
    let asked: Vec<String> = expressions(&dashboard)
        .into_iter()
        .map(|(_, e)| e)
        .collect();
    let shown = metrics(&asked.join("\n"));
    let variables = metrics(&dashboard["templating"].to_string());
    assert!(
        shown.len() > 15 && variables.len() == 3,
        "{shown:?} {variables:?}"
    );
    for name in shown.iter().chain(&variables) {
        assert!(served.contains(name), "{name} is not served");
    }
    let families = pages
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    for family in families.map(|line| line.split(' ').next().unwrap()) {
        let is_shown = shown.iter().any(|name| name.starts_with(family));
        assert!(is_shown, "{family} is not on the dashboard");
    }
    for expression in &asked {
        let by = expression.split("by (").skip(1);
        let by = by.flat_map(|rest| rest.split(')').next().unwrap().split(", "));
        let matched = expression.split('{').skip(1);
        let matched = matched.flat_map(|rest| rest.split('}').next().unwrap().split(','));
        let matched = matched.map(|label| label.split(['=', '!']).next().unwrap());
        for label in by.chain(matched).filter(|label| *label != "instance") {
            assert!(
                pages.contains(&format!("{label}=\"")),
                "{label}: {expression}"
            );
        }
    }
}

/// Prometheus understands every expression, once Grafana has put its variables in.
#[test]
fn its_expressions_are_promql() {
    if !have("promtool") {
        return;
    }
    let mut rules = "groups:\n- name: panels\n  rules:\n".to_owned();
    let expressions = expressions(&dashboard());
    for (i, (_, expression)) in expressions.iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "1m");
        let expression = ["echo", "load", "target"]
            .iter()
            .fold(expression, |e, name| {
                e.replace(&format!("\"${name}\""), "\".*\"")
            });
        assert!(!expression.contains('$'), "{expression}");
        let quoted = serde_json::to_string(&expression).unwrap(); // which is YAML, too
        rules += &format!("  - record: panel:{i}\n    expr: {quoted}\n");
    }
    let file = TempPath::new("dashboard-rules.yaml");
    fs::write(&file.0, rules).unwrap();
    let said = util::output(Command::new("promtool").args(["check", "rules", file.as_str()]));
    let stdout = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    assert!(
        stdout.contains(&format!("{} rules found", expressions.len())),
        "{stdout}"
    );
}

/// Panels have a place of their own within Grafana's 24 columns, and a number of their own.
#[test]
fn its_panels_do_not_overlap() {
    let dashboard = dashboard();
    let (mut cells, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in texts(&dashboard["panels"]) {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24 && w > 0 && h > 0, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{}", panel["title"]);
        }
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{}",
            panel["title"]
        );
    }
}
