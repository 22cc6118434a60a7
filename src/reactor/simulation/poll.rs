//! How the invented kernel reports: a whole socket at once, as epoll does, or each side of it by an event
//! of its own, as kqueue does.

use std::io;

use mio::Interest;

use super::super::models::Model;
use super::world::{Last, Socket, World};

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// epoll's, which has one report for a socket.
    Both,
    /// kqueue's, which has filters for reading and for writing.
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poll {
    Epoll,
    Kqueue,
}

impl Poll {
    /// The reports that something on this side of a socket makes: epoll looks at the whole of it.
    pub(super) fn reports(self, side: Side) -> &'static [Side] {
        match (self, side) {
            (Self::Epoll, _) => &[Side::Both],
            (Self::Kqueue, Side::Both) => &[Side::Read, Side::Write],
            (Self::Kqueue, Side::Read) => &[Side::Read],
            (Self::Kqueue, Side::Write) => &[Side::Write],
        }
    }
}

impl Socket {
    /// Whether the poll would report it on this side, if it is registered for that. A reset is reported
    /// always.
    pub(super) fn is_ready(&self, side: Side) -> bool {
        let Some(interest) = self.interest else {
            return false;
        };
        let readable = interest.is_readable() && self.is_readable();
        let writable = interest.is_writable() && self.is_writable();
        match side {
            Side::Both => self.reset || readable || writable,
            Side::Read => readable,
            Side::Write => writable,
        }
    }

    /// Whether the FIN alone makes it ready, which was received: it stays so, for a protocol that goes on
    /// sending.
    pub(super) fn is_finished(&self, side: Side) -> bool {
        let is_readable_for_ever = self.fin_came && !self.reset;
        match side {
            Side::Both => is_readable_for_ever && self.room == 0,
            Side::Read => is_readable_for_ever,
            Side::Write => false,
        }
    }
}

impl<M: Model> World<M> {
    fn report(&mut self, key: usize, side: Side) {
        if !self.ready.contains(&(key, side)) {
            self.ready.push((key, side));
        }
    }

    pub(super) fn report_listener(&mut self, key: usize) {
        let side = self.poll.reports(Side::Read)[0];
        self.report(key, side);
    }

    pub(super) fn is_reported(&self, key: usize) -> bool {
        self.ready.iter().any(|(ready, _)| *ready == key)
    }

    pub(super) fn forget(&mut self, key: usize) {
        self.ready.retain(|(ready, _)| *ready != key);
    }

    /// Something new happened on this side of the socket: an edge, if it is registered for that.
    pub(super) fn wake(&mut self, id: usize, side: Side) {
        for report in self.poll.reports(side) {
            let socket = &self.sockets[id];
            if let Some(key) = socket.key.filter(|_| socket.is_ready(*report)) {
                self.report(key, *report);
            }
        }
    }

    /// Registers it, or registers it again. What it is not registered for any more is not reported: kqueue
    /// drops the event with the filter.
    pub(super) fn watch(&mut self, key: usize, id: usize, interest: Interest) -> io::Result<()> {
        if self.fault(self.poll_faults) {
            self.shortage = true;
            self.sockets[id].last = Last::Fault;
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.sockets[id].key = Some(key);
        self.sockets[id].interest = Some(interest);
        self.keys.insert(key, id);
        if self.poll == Poll::Kqueue {
            self.forget(key);
        }
        self.wake(id, Side::Both);
        Ok(())
    }

    /// kqueue looks once more before it reports, and does not tell of what is over by then.
    pub(super) fn is_over(&self, key: usize, side: Side) -> bool {
        let is_ready = match (self.keys.get(&key), self.queues.get(key)) {
            (Some(id), _) => self.sockets[*id].is_ready(side),
            (None, Some(queue)) => !queue.waiting.is_empty(),
            (None, None) => false,
        };
        self.poll == Poll::Kqueue && !is_ready
    }
}
