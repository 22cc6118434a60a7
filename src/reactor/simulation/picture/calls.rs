//! Each call of a turn, as strace would show it, and in words: what it did and what for.

use mio::Interest;

use super::super::ACCEPTS_PER_TURN;
use super::recorder::Call;
use super::state::{Client, Door, Owner};
use super::turn::{Turn, Visit};
use super::words::{bytes, names, time};

impl Turn<'_> {
    /// What a call was for. Without a name, without what differs from client to client.
    pub(super) fn sentence(&self, visit: &Visit<'_>, call: &Call, who: &str) -> String {
        let after = self.after;
        match *call {
            Call::Accept(Ok(id)) => {
                format!("accept4 takes {who} from the queue.{}", self.place(id, who))
            }
            Call::Accept(Err("EAGAIN")) if after.grace_ends.is_some() => {
                "accept4 says EAGAIN: the queue is empty.".to_owned()
            }
            Call::Accept(Err("EAGAIN")) => {
                "accept4 says EAGAIN: the queue is empty. The next client makes a new edge."
                    .to_owned()
            }
            Call::Accept(Err(error)) => format!("accept4 fails with {error}."),
            Call::Rearm(Ok(())) => self.rearmed(),
            Call::Rearm(Err(error)) => format!("epoll_ctl cannot re-arm the listener: {error}."),
            Call::Register {
                id,
                interest,
                is_new,
                outcome,
                ..
            } => match outcome {
                Ok(()) => self.registered(id, interest, is_new, who),
                Err(error) => format!("epoll_ctl fails with {error}."),
            },
            Call::Receive(_, Ok(0)) => format!(
                "recv brings 0 bytes, which is the FIN of {who}. There is no message to echo."
            ),
            Call::Receive(_, Ok(n)) if n > after.max_read => format!(
                "recv brings {}. The first {} are the message, and the rest is forgotten.",
                bytes(n),
                bytes(after.max_read)
            ),
            Call::Receive(_, Ok(n)) => {
                format!("recv brings {}: this is the message of {who}.", bytes(n))
            }
            Call::Receive(_, Err("EAGAIN")) => "recv says EAGAIN: nothing has arrived.".to_owned(),
            Call::Receive(_, Err("ECONNRESET")) | Call::Discard(_, Err("ECONNRESET")) => {
                format!(
                    "recv fails with ECONNRESET: {who} is gone. This ends one connection and touches no other."
                )
            }
            Call::Discard(_, Ok(0)) => {
                format!("recv brings 0 bytes, which is the FIN of {who}.")
            }
            Call::Discard(_, Ok(n)) => {
                format!("recv brings {} more, which are discarded.", bytes(n))
            }
            Call::Discard(_, Err("EAGAIN")) => {
                "recv says EAGAIN: everything is read, and no FIN is here.".to_owned()
            }
            Call::Receive(_, Err(error)) | Call::Discard(_, Err(error)) => {
                format!("recv fails with {error}.")
            }
            Call::Send {
                before,
                asked,
                outcome,
                ..
            } => self.sent(before, asked, outcome, who),
            Call::HalfClose(_, Ok(())) => self.half_closed(visit, who),
            Call::HalfClose(_, Err(error)) => {
                format!("shutdown fails with {error}: {who} is gone.")
            }
            Call::Close(id, _, reason) => self.closed(id, reason, who),
            Call::CloseListener => {
                "No client is left in the queue, and none can join it: the listener is closed."
                    .to_owned()
            }
        }
    }

    /// Which place of the slab a newcomer gets.
    fn place(&self, id: usize, who: &str) -> String {
        let key = self.after.clients[id].key;
        let is_its = |call: &Call| matches!(call, Call::Close(_, freed, _) if *freed == key);
        match key {
            _ if who.is_empty() => String::new(),
            Some(key) if self.calls.iter().any(is_its) => format!(
                " It gets key {key}, which came free in this turn. Accepting comes last, so no event of this \
                 turn can be taken for the new owner's."
            ),
            Some(key) => format!(" It gets key {key} of the slab."),
            None => String::new(),
        }
    }

    fn rearmed(&self) -> String {
        let waiting: Vec<usize> = self
            .after
            .queues
            .iter()
            .flat_map(|q| q.waiting.clone())
            .collect();
        let then = match waiting[..] {
            [] => "Nobody is in it: the next client makes a new edge.".to_owned(),
            [_] => format!(
                "{} waits there, so the next turn comes at once.",
                names(&waiting)
            ),
            _ => format!(
                "{} wait there, so the next turn comes at once.",
                names(&waiting)
            ),
        };
        let why = match self.before.gate {
            Door::Full | Door::Paused(_) => "The gate opens, and",
            Door::Open if self.is_full() => {
                "The table is full now, which ends this run of accepts, and"
            }
            Door::Open => &format!(
                "A run of accepts has {ACCEPTS_PER_TURN} clients at most, so that the connected ones need not wait \
                 long, and"
            ),
        };
        format!(
            "{why} the edge of the queue is used up. So epoll_ctl re-arms the listener: the kernel looks at the \
             queue anew. {then}"
        )
    }

    fn is_full(&self) -> bool {
        let is_open = |client: &&Client| client.is_accepted && client.end.is_none();
        self.after.clients.iter().filter(is_open).count() == self.after.capacity
    }

    fn registered(&self, id: usize, interest: Interest, is_new: bool, who: &str) -> String {
        let for_what = match (interest.is_readable(), interest.is_writable()) {
            (true, false) => "for reading",
            (false, _) => "for writing",
            (true, true) => "for reading and writing",
        };
        let was = self
            .before
            .clients
            .get(id)
            .and_then(|client| client.interest);
        let mut text = if is_new {
            let what = if interest.is_readable() {
                "bytes or FIN arrive"
            } else {
                "the kernel has room"
            };
            let key = match self.after.clients[id].key {
                Some(key) if !who.is_empty() => format!("key {key}"),
                _ => "its key".to_owned(),
            };
            format!("epoll_ctl registers {who} {for_what}: epoll reports {key} when {what}.")
        } else if was == Some(interest) {
            format!(
                "epoll_ctl re-arms {who}: the server stopped before EAGAIN, so no other edge is certain."
            )
        } else {
            format!("epoll_ctl registers {who} {for_what} instead.")
        };
        if self.after.ready.contains(&Owner::Client(id)) {
            text += " Something is here already, so epoll reports it at once.";
        }
        text
    }

    fn sent(&self, before: usize, asked: usize, outcome: Result<usize, &str>, who: &str) -> String {
        let what = if before < self.after.greeting {
            "the greeting"
        } else if before > self.after.greeting {
            "the rest of the echo"
        } else {
            "the echo"
        };
        match outcome {
            Ok(n) if n < asked => format!(
                "send hands {what} to the kernel, which takes {n} of {}: its buffer is full, because {who} reads too \
                 slowly.",
                bytes(asked)
            ),
            Ok(n) => format!("send hands {what} to the kernel: {}.", bytes(n)),
            Err("EAGAIN") => format!(
                "send says EAGAIN: the kernel takes nothing more for {who} now. The server keeps the other {}.",
                bytes(asked)
            ),
            Err("EINTR") => "send is interrupted, and tried again.".to_owned(),
            Err(error) => format!("send fails with {error}: {who} is gone."),
        }
    }

    fn half_closed(&self, visit: &Visit<'_>, who: &str) -> String {
        let lingers = !visit
            .calls
            .iter()
            .any(|call| matches!(call, Call::Close(..)));
        let mut text =
            format!("shutdown sends our FIN behind the echo, so {who} sees where it ends.");
        if lingers {
            text += &format!(
                " The connection lingers now: the server reads until the FIN of {who}, for {} at most. To close \
                 with bytes unread would send a reset, which can destroy the echo.",
                time(self.after.linger)
            );
        }
        text
    }

    fn closed(&self, id: usize, reason: &str, who: &str) -> String {
        let half_closed = self.after.clients[id].half_closed;
        let why = match reason {
            "echoed" if half_closed => "Both sides have sent FIN: ".to_owned(),
            "echoed" => {
                return "close sends our FIN behind the echo and ends the connection. Its key is free.".to_owned();
            }
            "timed out" => format!(
                "{who} had {} from its accept to its whole echo: ",
                time(self.after.timeout)
            ),
            "lingering cut" => format!("{who} sent no FIN within {}: ", time(self.after.linger)),
            "shut down" => "The grace is over, and the server waits no longer: ".to_owned(),
            "failed" => format!("{who} could not be polled: "),
            "made room" => format!("{who} is the oldest and makes room: "),
            _ => String::new(),
        };
        format!("{why}close ends the connection, and its key is free.")
    }
}

/// A call and what it returned. Without a name, without what differs from client to client.
pub(super) fn line(call: &Call, who: &str) -> String {
    let result = |outcome: Result<usize, &str>| match outcome {
        Ok(n) => n.to_string(),
        Err(error) => error.to_owned(),
    };
    let done = |outcome: Result<(), &str>| outcome.err().unwrap_or("0").to_owned();
    match *call {
        Call::Accept(Ok(_)) => format!("accept4() = {who}"),
        Call::Accept(Err(error)) => format!("accept4() = {error}"),
        Call::Rearm(outcome) => format!("epoll_ctl(MOD, listener) = {}", done(outcome)),
        Call::Register {
            key,
            interest,
            is_new,
            outcome,
            ..
        } => {
            let operation = if is_new { "ADD" } else { "MOD" };
            let events = match (interest.is_readable(), interest.is_writable()) {
                (true, false) => "IN",
                (false, _) => "OUT",
                (true, true) => "IN|OUT",
            };
            let token = if who.is_empty() {
                String::new()
            } else {
                format!(", token {key}")
            };
            format!(
                "epoll_ctl({operation}, {who}, {events}{token}) = {}",
                done(outcome)
            )
        }
        Call::Receive(_, outcome) => format!("recv({who}) = {}", result(outcome)),
        Call::Discard(_, outcome) => format!("recv({who}, MSG_TRUNC) = {}", result(outcome)),
        Call::Send {
            asked,
            more,
            outcome,
            ..
        } => {
            let more = if more { ", MSG_MORE" } else { "" };
            format!("send({who}, {asked}{more}) = {}", result(outcome))
        }
        Call::HalfClose(_, outcome) => format!("shutdown({who}, WR) = {}", done(outcome)),
        Call::Close(..) => format!("close({who}) = 0"),
        Call::CloseListener => "close(listener) = 0".to_owned(),
    }
}
