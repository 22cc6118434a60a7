//! What happens between two turns, in words: what the clients and the kernel do while the server sleeps or
//! is busy.

use super::state::{Client, Door, Owner, State};
use super::words::{bytes, count, name, names, time};

/// A sentence or two for each thing that happened.
pub(super) fn captions(before: &State, after: &State) -> Vec<String> {
    let mut captions = vec![];
    if before.now < after.now {
        let passed = time(before.now.until(after.now));
        captions.push(format!("{passed} pass.{}", over(after)));
    }
    captions.extend(shortages(before, after));
    captions.extend(arrivals(before, after));
    captions.extend((0..after.clients.len()).filter_map(|id| act(before, after, id)));
    if before.grace_ends.is_none() && after.grace_ends.is_some() {
        captions.push(format!(
            "A signal asks the server to stop. No newcomer can join the queue from now on. The clients in it \
             are still accepted, and all have {} to finish.",
            time(after.grace)
        ));
    }
    captions
}

/// What the server was to wait for until now.
fn over(after: &State) -> String {
    let mut text = String::new();
    let is_due = |(_, due): &&(usize, _)| *due <= after.now;
    let due = after.deadlines.iter().filter(is_due).map(|(id, _)| *id);
    let due: Vec<usize> = due.collect();
    if !due.is_empty() {
        text += &format!(" The deadline of {} is over.", names(&due));
    }
    if matches!(after.gate, Door::Paused(until) if until <= after.now) {
        text += " The pause is over.";
    }
    if after.grace_ends.is_some_and(|end| end <= after.now) {
        text += " The grace is over.";
    }
    text
}

fn shortages(before: &State, after: &State) -> Option<String> {
    let text = match (before.is_short, after.is_short) {
        (false, true) => {
            "Something else in this process opens files, and no file descriptor is left. accept4 needs one \
             for each connection."
        }
        (true, false) => "A file descriptor is free again.",
        _ if before.errors < after.errors => "The next calls of accept4 are going to fail.",
        _ => return None,
    };
    Some(text.to_owned())
}

fn arrivals(before: &State, after: &State) -> Vec<String> {
    let newcomers = after.queues.iter().enumerate().filter_map(|(key, queue)| {
        let is_new = |id: &usize| *id >= before.clients.len();
        let ids: Vec<usize> = queue.waiting.iter().copied().filter(is_new).collect();
        let (who, what) = match ids[..] {
            [] => return None,
            [_] => (format!("Client {} connects", names(&ids)), "the connection"),
            _ => {
                let clients = count(ids.len(), "client");
                (format!("{clients} connect, {}", names(&ids)), "the connections")
            }
        };
        let listener = after.listener(key);
        let edge = if before.ready.contains(&Owner::Listener(key)) {
            format!("The ready list of epoll has {listener} already.")
        } else {
            format!("This makes {listener} ready: an edge, which epoll reports once.")
        };
        Some(format!(
            "{who}. The kernel completes the TCP handshake without the server, and puts {what} into \
             the accept queue. {edge}"
        ))
    });
    newcomers.collect()
}

/// What a client did.
fn act(before: &State, after: &State, id: usize) -> Option<String> {
    let client = &after.clients[id];
    let fresh = Client {
        room: client.room,
        ..Client::default()
    };
    let was = before.clients.get(id).unwrap_or(&fresh);
    let mut acts = vec![];
    match (client.sent - was.sent, client.fin && !was.fin) {
        (0, false) => {}
        (0, true) => acts.push("sends FIN, which says that nothing follows".to_owned()),
        (n, false) => acts.push(format!("sends {}", bytes(n))),
        (n, true) => acts.push(format!(
            "sends {} and FIN, which says that nothing follows",
            bytes(n)
        )),
    }
    if client.room > was.room {
        let room = bytes(client.room - was.room);
        acts.push(format!(
            "reads, so that the kernel can take {room} more for it"
        ));
    }
    if client.reset && !was.reset {
        acts.push("resets the connection".to_owned());
    }
    if acts.is_empty() {
        return None;
    }
    let (who, acts) = (name(id), acts.join(" and "));
    Some(format!(
        "Client {who} {acts}. {}",
        consequence(before, after, id)
    ))
}

/// Whether that is an edge.
fn consequence(before: &State, after: &State, id: usize) -> &'static str {
    let is_ready = |state: &State| state.ready.contains(&Owner::Client(id));
    match &after.clients[id] {
        client if !client.is_accepted => {
            "The kernel keeps this, and tells nobody yet: the server has not accepted the connection."
        }
        _ if is_ready(after) && is_ready(before) => {
            "The ready list of epoll has the socket already."
        }
        _ if is_ready(after) => {
            "The kernel puts the socket on the ready list of epoll: an edge, which epoll reports once."
        }
        _ => "This is no edge: the server has not registered the socket for it.",
    }
}
