//! The page: the steps of each scenario as data, and a script that shows them.

use super::super::Moment;
use super::state::{Client, Door, Owner, Queue, Slot, State};
use super::words::{at, bytes, name, names};
use super::{Scenario, Step};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A browser refuses to load anything for the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// So many of the latest clients are shown even when they are over.
const RECENT: usize = 24;

/// The whole page. The blank lines make the style and the scripts blocks of their own in markdown, so that
/// it can stand in a page of the documentation, too.
pub(super) fn page(scenarios: &[(Scenario, Vec<Step>)]) -> String {
    let data = scenarios.iter().map(|(scenario, steps)| {
        let Scenario {
            name, title, text, ..
        } = scenario;
        let steps = lines(steps.iter().map(step));
        object([
            ("name", text_of(name)),
            ("title", text_of(title)),
            ("text", text_of(text)),
            ("steps", steps),
        ])
    });
    let data = lines(data);
    assert!(!data.contains('<'), "markup in a text");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>hello-echo, turn by turn</title>\n\n<style>\n{STYLE}</style>\n\n\
         <div id=\"turns\"><noscript>This page needs JavaScript.</noscript></div>\n\n\
         <script type=\"application/json\" id=\"turns-data\">{data}</script>\n\n<script>\n{SCRIPT}</script>\n\n</html>\n"
    )
}

fn step(step: &Step) -> String {
    let state = &step.state;
    object([
        ("heading", text_of(&step.heading)),
        ("at", text_of(&at(state.now))),
        ("captions", texts(&step.captions)),
        ("clients", rows(state, client_row)),
        ("queue", texts(queue(state))),
        ("sockets", rows(state, socket_row)),
        ("ready", texts(ready(state))),
        ("calls", texts(&step.calls)),
        ("facts", facts(state)),
        ("slab", texts(state.slab.iter().map(slot))),
    ])
}

/// A row for each client that has one, from the first of them to the last: neighbours whose rows are the
/// same share one.
fn rows(state: &State, row: fn(&State, &Client) -> Option<[String; 3]>) -> String {
    let clients = state.clients.iter().enumerate();
    let all: Vec<(usize, [String; 3])> = clients
        .filter_map(|(id, client)| Some((id, row(state, client)?)))
        .collect();
    list(all.chunk_by(|a, b| a.1 == b.1).map(|same| {
        let ids: Vec<usize> = same.iter().map(|(id, _)| *id).collect();
        let (first, last) = (ids[0], ids[ids.len() - 1]);
        let texts = [names(&ids)].into_iter().chain(same[0].1.clone());
        list(
            [first.to_string(), last.to_string()]
                .into_iter()
                .chain(texts.map(|text| text_of(&text))),
        )
    }))
}

/// Where a client stands, what it did, and what it was sent.
fn client_row(state: &State, client: &Client) -> Option<[String; 3]> {
    let stands = match client.end {
        Some(end) => format!("over: {end}"),
        None if client.reset => "has reset".to_owned(),
        None if !client.is_accepted => "waits to be accepted".to_owned(),
        None if client.half_closed => "has its echo".to_owned(),
        None if client.taken < state.greeting => "is not greeted yet".to_owned(),
        None if client.taken == state.greeting => "is greeted".to_owned(),
        None => "has a part of its echo".to_owned(),
    };
    let moved = |n, fin| match (n, fin) {
        (0, false) => "nothing".to_owned(),
        (0, true) => "FIN".to_owned(),
        (n, false) => bytes(n),
        (n, true) => format!("{}, FIN", bytes(n)),
    };
    let is_recent = client.id + RECENT >= state.clients.len();
    (client.end.is_none() || is_recent).then(|| {
        [
            stands,
            moved(client.sent, client.fin),
            moved(client.taken, client.half_closed),
        ]
    })
}

/// What the kernel has for the server, what it would take from it, and what epoll is to report.
fn socket_row(_: &State, client: &Client) -> Option<[String; 3]> {
    let mut unread = vec![];
    if client.unread > 0 {
        unread.push(bytes(client.unread));
    }
    if client.fin && !client.fin_came {
        unread.push("FIN".to_owned());
    }
    if client.reset {
        unread = vec!["reset".to_owned()];
    }
    let interest = match client.interest {
        None => "not registered",
        Some(interest) if interest.is_writable() => "writing",
        Some(_) => "reading",
    };
    client
        .end
        .is_none()
        .then(|| [unread.join(", "), bytes(client.room), interest.to_owned()])
}

fn queue(state: &State) -> Vec<String> {
    let is_closed = |queue: &Queue| queue.is_closed;
    let closed = state
        .queues
        .iter()
        .all(is_closed)
        .then(|| "closed to newcomers".to_owned());
    let waiting = state.queues.iter().flat_map(|queue| &queue.waiting);
    waiting.map(|id| name(*id)).chain(closed).collect()
}

fn ready(state: &State) -> Vec<String> {
    let ready = state.ready.iter().map(|owner| match owner {
        Owner::Listener(key) => state.listener(*key).replace("the ", ""),
        Owner::Client(id) => name(*id),
        Owner::Nobody(key) => format!("key {key}"),
    });
    ready.collect()
}

/// What the reactor goes by, with a heading each.
fn facts(state: &State) -> String {
    let gate = match state.gate {
        Door::Open => "open".to_owned(),
        Door::Full => "closed: the table is full".to_owned(),
        Door::Paused(until) => format!("closed until {}", at(until)),
    };
    let deadlines = state.deadlines.chunk_by(|a, b| a.1 == b.1).map(|same| {
        let ids: Vec<usize> = same.iter().map(|(id, _)| *id).collect();
        format!("{} at {}", names(&ids), at(same[0].1))
    });
    let deadlines = match deadlines.collect::<Vec<_>>() {
        none if none.is_empty() => "none".to_owned(),
        some => some.join("; "),
    };
    let next = match state.alarm {
        _ if state.is_shut_down => "none, it has ended".to_owned(),
        _ if !state.ready.is_empty() => "at once, because the ready list is not empty".to_owned(),
        None => "when an edge comes".to_owned(),
        Some(alarm) if alarm <= state.now => "at once, because a time is over".to_owned(),
        Some(alarm) => format!(
            "when an edge comes, or at {}{}",
            at(alarm),
            what_for(state, alarm)
        ),
    };
    let mut facts = vec![
        ["Accept gate", &gate],
        ["Deadlines", &deadlines],
        ["Next turn", &next],
    ];
    let grace = state.grace_ends.map(|end| format!("until {}", at(end)));
    facts.extend(grace.as_ref().map(|until| ["Shutdown", until]));
    list(facts.into_iter().map(texts))
}

/// What the alarm is for.
fn what_for(state: &State, alarm: Moment) -> String {
    match state.deadlines.first() {
        Some((id, due)) if *due == alarm => format!(", for the deadline of {}", name(*id)),
        _ if state.gate == Door::Paused(alarm) => ", to open the gate".to_owned(),
        _ if state.watch_at == Some(alarm) => ", to see whether the queue overflows".to_owned(),
        _ => String::new(),
    }
}

fn slot(slot: &Slot) -> String {
    match slot {
        Slot::Free => String::new(),
        Slot::Listener => "|listener".to_owned(),
        Slot::Client(id, stage, 0) => format!("{}|{stage}", name(*id)),
        Slot::Client(id, stage, kept) => {
            format!("{}|{stage}, {} on the heap", name(*id), bytes(*kept))
        }
    }
}

/// JSON of what has neither quotes nor control characters.
fn text_of(text: &str) -> String {
    assert!(
        !text.contains(['"', '\\']) && !text.contains(char::is_control),
        "{text}"
    );
    format!("\"{text}\"")
}

fn object<const N: usize>(fields: [(&str, String); N]) -> String {
    let fields = fields.map(|(name, value)| format!("{}:{value}", text_of(name)));
    format!("{{{}}}", fields.join(","))
}

fn texts(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    list(texts.into_iter().map(|text| text_of(text.as_ref())))
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// A list with an item a line, whose changes a diff can show.
fn lines(items: impl IntoIterator<Item = String>) -> String {
    format!(
        "[\n{}\n]",
        items.into_iter().collect::<Vec<_>>().join(",\n")
    )
}
