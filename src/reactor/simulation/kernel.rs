//! The reactor's way into the world: an invented kernel.

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use mio::Interest;

use super::super::models::{Model, Owes, check_sent};
use super::super::{Moment, SLICE, Stream, System};
use super::poll::{Poll, Side};
use super::world::{Last, World};

pub(super) struct Kernel<M: Model>(pub(super) Rc<RefCell<World<M>>>);

impl<M: Model> Clone for Kernel<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(super) struct SimulatedStream<M: Model>(Kernel<M>, usize);

pub(super) struct SimulatedListener<M: Model>(pub(super) Kernel<M>, pub(super) usize);

impl<M: Model> Display for SimulatedListener<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {}", self.1)
    }
}

impl<M: Model> System for Kernel<M> {
    type Listener = SimulatedListener<M>;
    type Stream = SimulatedStream<M>;
    type Peer = usize;

    fn accept(
        &mut self,
        listener: &SimulatedListener<M>,
    ) -> io::Result<(SimulatedStream<M>, usize)> {
        let world = &mut *self.0.borrow_mut();
        let error = world.accept_errors.pop();
        // EMFILE comes with an empty queue, too.
        let is_short = world.open.len() >= world.descriptors;
        if let Some(errno) = error.or(is_short.then_some(libc::EMFILE)) {
            world.shortage = true;
            world.failed_accepts += 1;
            return Err(io::Error::from_raw_os_error(errno));
        }
        let id = world.queues[listener.1].waiting.pop_front();
        let id = id.ok_or(io::ErrorKind::WouldBlock)?;
        world.sockets[id].accepted_at = Some(world.now);
        world.open.insert(id);
        world.newcomer = Some(id);
        world.accepted += 1;
        Ok((SimulatedStream(self.clone(), id), id))
    }

    fn close_queue(&mut self, listener: &SimulatedListener<M>) -> io::Result<Option<Duration>> {
        let world = &mut *self.0.borrow_mut();
        if world.are_shared {
            return Ok(None);
        }
        let queue = &mut world.queues[listener.1];
        // The process that was to have the queue may have ended when this is asked again. It ends once.
        let wait = Duration::from_millis(match queue.joinable_until {
            None => world.random.choose(&[0, 0, 25]),
            Some(_) if queue.has_heir => world.random.choose(&[0, 0, 10]),
            Some(_) => 0,
        });
        queue.has_heir = queue.joinable_until.is_none() && wait.is_zero();
        queue.joinable_until = Some(world.now.after(wait));
        if world.poll == Poll::Epoll {
            world.report_listener(listener.1); // a Unix socket does, with the hint
        }
        Ok(Some(wait))
    }

    /// From time to time it is to be looked at again.
    fn watch_queue(
        &mut self,
        _: &SimulatedListener<M>,
        now: Moment,
    ) -> (Option<Moment>, Option<String>) {
        let world = &mut *self.0.borrow_mut();
        world.watches += 1;
        let random = &mut world.random;
        let again_at = now.after(Duration::from_millis(1 + random.below(50) as u64));
        (Some(again_at).filter(|_| random.one_in(3)), None)
    }

    fn forget(&mut self, listener: &SimulatedListener<M>) {
        let world = &mut *self.0.borrow_mut();
        world.forget(listener.1);
    }

    fn rearm(&mut self, key: usize, listener: &SimulatedListener<M>) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        if world.fault(world.poll_faults) {
            world.shortage = true;
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        if !world.queues[listener.1].waiting.is_empty() {
            world.report_listener(key);
        }
        Ok(())
    }

    fn register(
        &mut self,
        key: usize,
        stream: &SimulatedStream<M>,
        interest: Interest,
    ) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        assert_eq!(world.sockets[stream.1].interest, None, "registered twice");
        world.watch(key, stream.1, interest)
    }

    fn reregister(
        &mut self,
        key: usize,
        stream: &SimulatedStream<M>,
        interest: Interest,
    ) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        assert_eq!(world.sockets[stream.1].key, Some(key), "a stale key");
        world.watch(key, stream.1, interest)
    }
}

impl<M: Model> SimulatedStream<M> {
    /// Returns how many bytes come, and whether they are counted as late.
    fn receive(world: &mut World<M>, id: usize, room: usize) -> io::Result<usize> {
        let key = world.sockets[id].key;
        // A new connection looks once whether something is here, before it is registered.
        let reported = key.is_none_or(|key| world.reported.contains(&key));
        let is_late = world.is_late(id);
        let is_over = world.grace_ends.is_some_and(|end| end <= world.now);
        assert!(
            reported || is_late || is_over,
            "connection {id} was driven by an event of another"
        );
        world.call(id)?;
        let (now, socket) = (world.now, &mut world.sockets[id]);
        let n = socket.unread().min(room);
        if n == 0 && !socket.fin {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if n > 0 {
            socket.moved_at = Some(now);
        }
        socket.fin_came |= n == 0;
        socket.last = if n == 0 { Last::Fin } else { Last::Fine };
        world.late += if is_late { n } else { 0 };
        world.received += if is_late { 0 } else { n };
        Ok(n)
    }
}

impl<M: Model> Stream for SimulatedStream<M> {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        assert!(!buffer.is_empty(), "0 bytes would be taken for the FIN");
        assert_eq!(world.owes(*id), Owes::Receive);
        // A passed descriptor ends a receive early.
        let most = if world.hides(*id) && world.cuts_receives {
            1 + world.random.below(9)
        } else {
            buffer.len()
        };
        let n = Self::receive(world, *id, most.min(buffer.len()))?;
        let past = &mut world.sockets[*id].past;
        if past.received == 0 {
            past.first = n;
        }
        for (to, place) in buffer[..n].iter_mut().zip(past.received..) {
            *to = M::byte(*id, place);
        }
        past.received += n;
        past.fin |= n == 0;
        if world.owes(*id) != Owes::Receive {
            let now = world.now;
            world.sockets[*id].answered_at.get_or_insert(now);
        }
        Ok(n)
    }

    fn discard(&mut self, most: usize) -> io::Result<usize> {
        assert!(most > 0, "0 bytes would be taken for the FIN");
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        let streams = M::streams(&world.sockets[*id].past);
        let is_heard = streams || matches!(world.owes(*id), Owes::Close(_));
        assert!(is_heard, "connection {id} is not heard");
        let n = Self::receive(world, *id, most.min(SLICE))?;
        world.sockets[*id].discarded += n;
        world.sockets[*id].past.fin |= n == 0;
        Ok(n)
    }

    fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        world.call(*id)?;
        let past = world.sockets[*id].past;
        check_sent::<M>(&world.shared, &past, bytes);
        let (now, is_late) = (world.now, world.is_late(*id));
        let socket = &mut world.sockets[*id];
        assert!(socket.half_closed_at.is_none());
        let n = bytes.len().min(socket.room);
        socket.room -= n;
        socket.past.sent += n;
        // When it has no room for all, the kernel sends what it took.
        socket.held_back = more && n == bytes.len();
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        socket.moved_at = Some(now);
        socket.last = Last::Fine;
        world.given += if is_late { 0 } else { n };
        Ok(n)
    }

    fn half_close(&mut self) -> io::Result<()> {
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        if world.sockets[*id].reset {
            world.sockets[*id].last = Last::Reset;
            return Err(io::ErrorKind::NotConnected.into());
        }
        assert!(matches!(world.owes(*id), Owes::Close(_)), "FIN too early");
        let socket = &mut world.sockets[*id];
        assert_eq!(socket.half_closed_at, None, "two FINs");
        socket.half_closed_at = Some(world.now);
        socket.held_back = false;
        if world.hides(*id) && world.poll == Poll::Epoll {
            world.wake(*id, Side::Both); // a Unix socket is looked at anew
        }
        Ok(())
    }

    fn short_is_all(&self) -> bool {
        !self.0.0.borrow().hides(self.1)
    }

    fn half_close_reports(&self) -> bool {
        self.0.0.borrow().poll == Poll::Epoll
    }
}

impl<M: Model> Drop for SimulatedStream<M> {
    fn drop(&mut self) {
        let Self(kernel, id) = self;
        let world = &mut *kernel.0.borrow_mut();
        if std::thread::panicking() {
            return;
        }
        let reason = world.reason(*id);
        let socket = &world.sockets[*id];
        assert!(
            !socket.held_back || socket.unread() == 0 || socket.reset,
            "closed with input unread, which loses the bytes that were held back"
        );
        world.open.remove(id);
        *world.closed.entry(reason).or_default() += 1;
        world.sockets[*id].closed = true;
        // One that could not be polled goes before the pause begins, and does not end it.
        world.shortage &= world.sockets[*id].last == Last::Fault;
        if let Some(key) = world.sockets[*id].key.take() {
            world.forget(key);
            world.reported.remove(&key);
            world.keys.remove(&key);
        }
    }
}

impl<M: Model> Drop for SimulatedListener<M> {
    fn drop(&mut self) {
        let Self(kernel, index) = self;
        let world = &mut *kernel.0.borrow_mut();
        if std::thread::panicking() {
            return;
        }
        let end = world
            .grace_ends
            .expect("a listener is closed while it serves");
        let queue = &mut world.queues[*index];
        let is_over = end <= world.now;
        let is_left = world.are_shared && world.queues_left.is_some_and(|at| at <= world.now);
        let is_closed = world.are_shared || !queue.is_joinable(world.now);
        let is_done = queue.waiting.is_empty() && is_closed;
        assert!(
            is_over || is_done || is_left,
            "the queue was reset before the grace was over"
        );
        assert!(
            queue.waiting.is_empty() || world.shortage || world.are_shared,
            "peers in the queue were not accepted when the grace was over"
        );
        queue.dropped = true;
        world.forget(*index);
    }
}
