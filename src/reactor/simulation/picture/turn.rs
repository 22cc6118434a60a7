//! What the server does in one turn, in words and as the calls that it makes.

use mio::Interest;

use super::calls::line;
use super::recorder::Call;
use super::state::{Client, Door, Owner, State};
use super::words::{at, bytes, count, name, names};
use crate::reactor::Event;

/// What happened in a turn, and around it.
pub(super) struct Turn<'a> {
    pub(super) before: &'a State,
    pub(super) after: &'a State,
    pub(super) events: &'a [Event],
    pub(super) calls: &'a [Call],
}

/// Calls in a row that are about one client, or one about a listener.
pub(super) struct Visit<'a> {
    client: Option<usize>,
    pub(super) calls: &'a [Call],
}

impl Turn<'_> {
    /// A sentence or two for each event, each visit and each change of the gate.
    pub(super) fn captions(&self) -> Vec<String> {
        let mut captions = vec![self.wakes()];
        let visits = self.visits(|visit, who| self.tell(visit, who).join(" "));
        captions.extend(visits);
        captions.extend(self.gate());
        if self.after.is_shut_down {
            captions
                .push("No listener and no client is left: the process exits with 0.".to_owned());
        }
        captions
    }

    /// The calls, as strace would show them.
    pub(super) fn calls(&self) -> Vec<String> {
        let owner = |event: &Event| match self.before.owner(event.key) {
            Owner::Client(id) => name(id),
            Owner::Listener(key) => self.before.listener(key).replace("the ", ""),
            Owner::Nobody(key) => format!("key {key}"),
        };
        let events: Vec<String> = self.events.iter().map(owner).collect();
        let mut calls = vec![match events[..] {
            [] => "epoll_wait: no event".to_owned(),
            _ => format!("epoll_wait: {}", events.join(", ")),
        }];
        let lines = self.visits(|visit, who| {
            let lines = visit.calls.iter().map(|call| line(call, who));
            lines.collect::<Vec<_>>().join("\n")
        });
        calls.extend(
            lines
                .iter()
                .flat_map(|lines| lines.split('\n').map(str::to_owned)),
        );
        calls
    }

    /// A text for each visit; where several in a row would be the same, for the first of them.
    fn visits(&self, text: impl Fn(&Visit<'_>, &str) -> String) -> Vec<String> {
        let mut visits = vec![];
        let by_client = |a: &Call, b: &Call| a.client().is_some() && a.client() == b.client();
        for calls in self.calls.chunk_by(by_client) {
            let client = calls[0].client();
            visits.push(Visit { client, calls });
        }
        let same = |a: &Visit<'_>, b: &Visit<'_>| text(a, "") == text(b, "");
        let mut texts = vec![];
        for run in visits.chunk_by(same) {
            let (first, others) = (&run[0], &run[1..]);
            texts.push(text(first, &first.client.map(name).unwrap_or_default()));
            let ids: Vec<usize> = others.iter().filter_map(|visit| visit.client).collect();
            match (others.len(), ids.len()) {
                (0, _) => {}
                (n, 0) => texts.push(format!("The same {} more.", count(n, "time"))),
                (n, _) => {
                    let clients = count(n, "more client");
                    texts.push(format!("The same for {clients}: {}.", names(&ids)));
                }
            }
        }
        texts
    }

    fn wakes(&self) -> String {
        let reasons: Vec<String> = self.events.iter().map(|event| self.reason(event)).collect();
        match reasons[..] {
            [] if self.before.alarm.is_some_and(|at| at <= self.before.now) => {
                "epoll_wait returns without an event, because it was to sleep only until now."
                    .to_owned()
            }
            [] => "epoll_wait returns without an event and before its time, as it may.".to_owned(),
            _ => {
                let events = count(reasons.len(), "event");
                format!("epoll_wait returns {events}: {}.", reasons.join("; "))
            }
        }
    }

    /// Why epoll reports it.
    fn reason(&self, event: &Event) -> String {
        let id = match self.before.owner(event.key) {
            Owner::Client(id) => id,
            Owner::Nobody(key) => return format!("key {key}, which is nobody's and is ignored"),
            Owner::Listener(key) => {
                let listener = self.before.listener(key);
                return match self.before.queues[key].waiting.len() {
                    0 => format!("{listener}, whose queue is empty by now"),
                    n => format!(
                        "{listener}, because {} in its queue",
                        plural(n, "client waits", "clients wait")
                    ),
                };
            }
        };
        let client = &self.before.clients[id];
        let mut here = vec![];
        if client.unread > 0 {
            here.push(bytes(client.unread));
        }
        if client.fin && !client.fin_came {
            here.push("its FIN".to_owned());
        }
        let is_writable = |client: &Client| client.interest.is_some_and(Interest::is_writable);
        let why = match here[..] {
            _ if client.reset => "it has reset the connection".to_owned(),
            _ if is_writable(client) => {
                format!("the kernel can take {} for it", bytes(client.room))
            }
            [] => return format!("{}, though nothing has happened there", name(id)),
            [ref one] if client.unread == 1 || client.unread == 0 => format!("{one} has arrived"),
            _ => format!("{} have arrived", here.join(" and ")),
        };
        format!("{}, because {why}", name(id))
    }

    /// What a visit was for. Of a client that has no name here, the keys are left out, too.
    fn tell(&self, visit: &Visit<'_>, who: &str) -> Vec<String> {
        let tell = |call| self.sentence(visit, call, who);
        let mut sentences: Vec<String> = visit.calls.iter().map(tell).collect();
        let closed = match visit.calls.last() {
            Some(Call::Close(_, _, reason)) => *reason,
            _ => "",
        };
        if ["timed out", "lingering cut", "shut down"].contains(&closed) {
            let again = "The server looks once more, because it may itself have been stopped while bytes arrived.";
            sentences.insert(0, again.to_owned());
        }
        sentences
    }

    /// An event of a listener that is not followed.
    fn stays_closed(&self) -> Option<String> {
        let is_listeners =
            |event: &Event| matches!(self.before.owner(event.key), Owner::Listener(_));
        let stays = self.after.gate != Door::Open && self.events.iter().any(is_listeners);
        stays.then(|| "The gate is closed, so the clients stay in the queue.".to_owned())
    }

    /// What became of the gate, unless re-arming has told it.
    fn gate(&self) -> Option<String> {
        let after = self.after;
        match (self.before.gate, after.gate) {
            (before, now) if before == now => self.stays_closed(),
            (_, Door::Full) => Some(format!(
                "The table is full: {} are connected, as many as may be. The gate closes, and newcomers wait in \
                 the kernel's queue. Their edge is used up, but the gate opens when a client leaves.",
                count(after.capacity, "client")
            )),
            (_, Door::Paused(until)) => Some(format!(
                "The gate closes until {}, or until a connection is closed. To try again at once would fail again, \
                 and burn the processor. Clients wait in the kernel's queue meanwhile.",
                at(until)
            )),
            (_, Door::Open) => None,
        }
    }
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
