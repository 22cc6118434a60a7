//! What the reactor calls, written down: it stands in front of the invented kernel and hands every call on.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use mio::Interest;

use super::super::kernel::{Kernel, SimulatedListener, SimulatedStream};
use super::super::{Moment, Stream, System};
use crate::protocol::hello::Hello;

/// What came of a call: a number, or the name of its error.
pub(super) type Outcome<T> = Result<T, &'static str>;

/// A call. Clients are named by the number of their arrival.
#[derive(Clone)]
pub(super) enum Call {
    Accept(Outcome<usize>),
    Rearm(Outcome<()>),
    Register {
        id: usize,
        key: usize,
        interest: Interest,
        is_new: bool,
        outcome: Outcome<()>,
    },
    Receive(usize, Outcome<usize>),
    Discard(usize, Outcome<usize>),
    Send {
        id: usize,
        /// How many bytes the kernel had taken before.
        before: usize,
        asked: usize,
        more: bool,
        outcome: Outcome<usize>,
    },
    HalfClose(usize, Outcome<()>),
    /// The client, its key, and why.
    Close(usize, Option<usize>, &'static str),
    CloseListener,
}

impl Call {
    /// Whose socket it is about; `None`: a listener.
    pub(super) fn client(&self) -> Option<usize> {
        match self {
            Self::Accept(Ok(id))
            | Self::Register { id, .. }
            | Self::Receive(id, _)
            | Self::Discard(id, _)
            | Self::Send { id, .. }
            | Self::HalfClose(id, _)
            | Self::Close(id, ..) => Some(*id),
            Self::Accept(Err(_)) | Self::Rearm(_) | Self::CloseListener => None,
        }
    }
}

pub(super) type Calls = Rc<RefCell<Vec<Call>>>;

pub(super) struct Recorder {
    pub(super) kernel: Kernel<Hello>,
    pub(super) calls: Calls,
}

pub(super) struct RecordedStream {
    stream: SimulatedStream<Hello>,
    pub(super) id: usize,
    kernel: Kernel<Hello>,
    calls: Calls,
}

/// The errors that the invented kernel makes.
fn name(error: &io::Error) -> &'static str {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::WouldBlock, _) => "EAGAIN",
        (io::ErrorKind::Interrupted, _) => "EINTR",
        (io::ErrorKind::ConnectionReset, _) => "ECONNRESET",
        (io::ErrorKind::NotConnected, _) => "ENOTCONN",
        (io::ErrorKind::ConnectionAborted, _) => "ECONNABORTED",
        (_, Some(libc::EMFILE)) => "EMFILE",
        (_, Some(libc::ENOBUFS)) => "ENOBUFS",
        (_, Some(libc::ENOMEM)) => "ENOMEM",
        (_, Some(libc::ENOSPC)) => "ENOSPC",
        (_, Some(libc::EPROTO)) => "EPROTO",
        (_, Some(libc::EPERM)) => "EPERM",
        (_, Some(libc::EXFULL)) => "EXFULL",
        _ => panic!("{error} has no name"),
    }
}

fn outcome<T: Copy>(result: &io::Result<T>) -> Outcome<T> {
    result.as_ref().copied().map_err(name)
}

impl Recorder {
    fn note(&self, call: Call) {
        self.calls.borrow_mut().push(call);
    }
}

impl System for Recorder {
    type Listener = SimulatedListener<Hello>;
    type Stream = RecordedStream;
    type Peer = usize;

    fn accept(&mut self, listener: &Self::Listener) -> io::Result<(RecordedStream, usize)> {
        let accepted = self.kernel.accept(listener).map(|(stream, id)| {
            let (kernel, calls) = (self.kernel.clone(), self.calls.clone());
            let stream = RecordedStream {
                stream,
                id,
                kernel,
                calls,
            };
            (stream, id)
        });
        let id = accepted.as_ref().map(|(_, id)| *id);
        self.note(Call::Accept(id.map_err(name)));
        accepted
    }

    fn close_queue(&mut self, listener: &Self::Listener) -> io::Result<Option<Duration>> {
        self.kernel.close_queue(listener)
    }

    fn watch_queue(
        &mut self,
        listener: &Self::Listener,
        now: Moment,
    ) -> (Option<Moment>, Option<String>) {
        self.kernel.watch_queue(listener, now)
    }

    fn forget(&mut self, listener: &Self::Listener) {
        self.note(Call::CloseListener);
        self.kernel.forget(listener);
    }

    fn rearm(&mut self, key: usize, listener: &Self::Listener) -> io::Result<()> {
        let result = self.kernel.rearm(key, listener);
        self.note(Call::Rearm(outcome(&result)));
        result
    }

    fn register(
        &mut self,
        key: usize,
        stream: &RecordedStream,
        interest: Interest,
    ) -> io::Result<()> {
        let result = self.kernel.register(key, &stream.stream, interest);
        self.note_registration(key, stream.id, interest, true, &result);
        result
    }

    fn reregister(
        &mut self,
        key: usize,
        stream: &RecordedStream,
        interest: Interest,
    ) -> io::Result<()> {
        let result = self.kernel.reregister(key, &stream.stream, interest);
        self.note_registration(key, stream.id, interest, false, &result);
        result
    }
}

impl Recorder {
    fn note_registration(
        &self,
        key: usize,
        id: usize,
        interest: Interest,
        is_new: bool,
        result: &io::Result<()>,
    ) {
        self.note(Call::Register {
            id,
            key,
            interest,
            is_new,
            outcome: outcome(result),
        });
    }
}

impl Stream for RecordedStream {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.stream.recv(buffer);
        self.note(Call::Receive(self.id, outcome(&result)));
        result
    }

    fn discard(&mut self, most: usize) -> io::Result<usize> {
        let result = self.stream.discard(most);
        self.note(Call::Discard(self.id, outcome(&result)));
        result
    }

    fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let before = self.kernel.0.borrow().sockets[self.id].past.sent;
        let result = self.stream.send(bytes, more);
        self.note(Call::Send {
            id: self.id,
            before,
            asked: bytes.len(),
            more,
            outcome: outcome(&result),
        });
        result
    }

    fn half_close(&mut self) -> io::Result<()> {
        let result = self.stream.half_close();
        self.note(Call::HalfClose(self.id, outcome(&result)));
        result
    }

    fn short_is_all(&self) -> bool {
        self.stream.short_is_all()
    }

    fn half_close_reports(&self) -> bool {
        self.stream.half_close_reports()
    }
}

impl RecordedStream {
    fn note(&self, call: Call) {
        self.calls.borrow_mut().push(call);
    }
}

impl Drop for RecordedStream {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let world = self.kernel.0.borrow();
            let key = world.sockets[self.id].key;
            self.note(Call::Close(self.id, key, world.reason(self.id)));
        }
    }
}
