//! The world: peers, their sockets and queues, and the promises that were made to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use mio::Interest;

use super::super::calls::CALLS_PER_TURN;
use super::super::models::{Model, Owes, Past, Random, Renewal, Wait};
use super::super::{Full, LINGER, Moment, Rules};
use super::poll::{Poll, Side};

/// One connection, as its peer and the kernel see it.
#[derive(Default)]
pub(super) struct Socket {
    /// What the peer did: bytes sent, and whether its FIN or its reset followed.
    pub(super) sent: usize,
    pub(super) fin: bool,
    pub(super) reset: bool,
    /// What the kernel would take from the server now.
    pub(super) room: usize,
    /// What the server did.
    pub(super) past: Past,
    pub(super) discarded: usize,
    pub(super) accepted_at: Option<Moment>,
    pub(super) moved_at: Option<Moment>,
    /// When there was first something to be sent after it had waited for bytes.
    pub(super) answered_at: Option<Moment>,
    pub(super) driven_at: Option<Moment>,
    /// Its last turn, and the calls in that, without the half-close, which is never put off.
    calls: (u64, usize),
    /// Whether a receive brought the peer's FIN.
    pub(super) fin_came: bool,
    pub(super) half_closed_at: Option<Moment>,
    /// Whether the kernel may hold the end of what was sent back for what follows.
    pub(super) held_back: bool,
    pub(super) key: Option<usize>,
    pub(super) interest: Option<Interest>,
    pub(super) last: Last,
    pub(super) closed: bool,
}

/// How the server's last call for a socket turned out, if that can be the end of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Last {
    #[default]
    Fine,
    Fin,
    Reset,
    Fault,
}

impl Socket {
    pub(super) fn unread(&self) -> usize {
        self.sent - self.past.received - self.discarded
    }

    pub(super) fn is_readable(&self) -> bool {
        self.unread() > 0 || self.fin || self.reset
    }

    /// From when its deadlines may count.
    pub(super) fn moments(&mut self) -> [&mut Option<Moment>; 4] {
        [
            &mut self.accepted_at,
            &mut self.moved_at,
            &mut self.answered_at,
            &mut self.half_closed_at,
        ]
    }

    pub(super) fn is_writable(&self) -> bool {
        self.room > 0 || self.reset
    }
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<usize>,
    /// Until when somebody may join, once that is limited.
    pub(super) joinable_until: Option<Moment>,
    /// Another process was to have it when it was closed.
    pub(super) has_heir: bool,
    pub(super) dropped: bool,
}

impl Queue {
    pub(super) fn is_joinable(&self, now: Moment) -> bool {
        !self.dropped && self.joinable_until.is_none_or(|until| now < until)
    }
}

pub(super) struct World<M: Model> {
    pub(super) random: Random,
    pub(super) shared: M::Shared,
    pub(super) rules: Rules,
    pub(super) now: Moment,
    pub(super) turns: u64,
    pub(super) grace_ends: Option<Moment>,
    /// When the queues are left to others, if these have them, too.
    pub(super) queues_left: Option<Moment>,
    pub(super) sockets: Vec<Socket>,
    /// Those of them that the server has accepted and not closed.
    pub(super) open: BTreeSet<usize>,
    /// The one that was accepted last.
    pub(super) newcomer: Option<usize>,
    /// The listeners' queues, and whether other processes have them, too.
    pub(super) queues: Vec<Queue>,
    pub(super) are_shared: bool,
    /// How often one of them was watched.
    pub(super) watches: usize,
    /// How the kernel reports, its list of what is ready, in order, and what of it was reported in this
    /// turn.
    pub(super) poll: Poll,
    pub(super) ready: Vec<(usize, Side)>,
    pub(super) reported: BTreeSet<usize>,
    pub(super) keys: BTreeMap<usize, usize>,
    /// Faults at hand: the next errors of accept4, and how often the others come, one in so many.
    pub(super) accept_errors: Vec<i32>,
    pub(super) interrupts: usize,
    pub(super) cuts_receives: bool,
    pub(super) poll_faults: usize,
    pub(super) descriptors: usize,
    /// Whether something was to be had neither from accept4 nor from epoll_ctl, and no descriptor has
    /// come free since.
    pub(super) shortage: bool,
    /// Whose time was over when they were driven in this turn, and how many bytes came from them; and
    /// how many were moved each way for the others.
    pub(super) overdue: BTreeSet<usize>,
    pub(super) late: usize,
    pub(super) received: usize,
    pub(super) given: usize,
    pub(super) accepted: u64,
    pub(super) failed_accepts: u64,
    pub(super) closed: BTreeMap<&'static str, u64>,
}

impl<M: Model> World<M> {
    pub(super) fn new(random: Random, shared: M::Shared, rules: Rules, listeners: usize) -> Self {
        Self {
            random,
            shared,
            rules,
            now: Moment::START,
            turns: 0,
            grace_ends: None,
            queues_left: None,
            sockets: vec![],
            open: BTreeSet::new(),
            newcomer: None,
            queues: (0..listeners).map(|_| Queue::default()).collect(),
            are_shared: false,
            watches: 0,
            poll: Poll::Epoll,
            ready: vec![],
            reported: BTreeSet::new(),
            keys: BTreeMap::new(),
            accept_errors: vec![],
            interrupts: 0,
            cuts_receives: true,
            poll_faults: 0,
            descriptors: usize::MAX,
            shortage: false,
            overdue: BTreeSet::new(),
            late: 0,
            received: 0,
            given: 0,
            accepted: 0,
            failed_accepts: 0,
            closed: BTreeMap::new(),
        }
    }

    /// A peer connects, and the kernel would take so many bytes for it.
    pub(super) fn arrive(&mut self, index: usize, room: usize) {
        let id = self.sockets.len();
        self.queues[index].waiting.push_back(id);
        self.report_listener(index);
        self.sockets.push(Socket {
            room,
            past: Past {
                id,
                ..Past::default()
            },
            ..Socket::default()
        });
    }

    /// Whether its socket may have more than a receive that came back short.
    pub(super) fn hides(&self, id: usize) -> bool {
        id % 5 == 4
    }

    pub(super) fn owes(&self, id: usize) -> Owes {
        M::owes(&self.shared, &self.sockets[id].past)
    }

    pub(super) fn due(&self, socket: &Socket) -> Option<Moment> {
        self.deadline(socket).map(|(_, due)| due)
    }

    /// The kind of its deadline, and when that is over. The least of them is the next to leave where the
    /// oldest does.
    fn deadline(&self, socket: &Socket) -> Option<(usize, Moment)> {
        let (kind, since, length) = match socket.half_closed_at {
            Some(at) => (LINGER, Some(at), self.rules.linger),
            None => {
                let wait = M::wait(&self.shared, &socket.past);
                let Wait {
                    kind,
                    length,
                    renewal,
                } = wait;
                let renewed_at = match renewal {
                    Renewal::Nothing => None,
                    Renewal::Bytes => socket.moved_at,
                    Renewal::Answer => socket.answered_at,
                };
                (LINGER + 1 + kind, renewed_at.or(socket.accepted_at), length)
            }
        };
        Some((kind, since?.after(length))).filter(|_| !length.is_zero())
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Socket> {
        self.open.iter().map(|id| &self.sockets[*id])
    }

    pub(super) fn fault(&mut self, one_in: usize) -> bool {
        one_in > 0 && self.random.one_in(one_in)
    }

    /// What every call on a socket may meet.
    pub(super) fn call(&mut self, id: usize) -> io::Result<()> {
        assert!(!self.sockets[id].closed);
        self.is_late(id);
        let is_over = self.grace_ends.is_some_and(|end| end <= self.now);
        let may_be_driven_twice = is_over || self.overdue.contains(&id);
        let socket = &mut self.sockets[id];
        socket.driven_at = Some(self.now);
        let (turn, calls) = socket.calls;
        socket.calls = (self.turns, if turn == self.turns { calls + 1 } else { 1 });
        // kqueue's two events drive it twice.
        let most = CALLS_PER_TURN * self.poll.reports(Side::Both).len();
        let many = socket.calls.1 > most && !may_be_driven_twice;
        assert!(!many, "the others wait for connection {id}");
        if self.fault(self.interrupts) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.sockets[id].reset {
            self.sockets[id].last = Last::Reset;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    pub(super) fn is_due(&self, socket: &Socket) -> bool {
        self.due(socket).is_some_and(|due| due <= self.now)
    }

    /// Whether it is driven though its time is over, or was when that began.
    pub(super) fn is_late(&mut self, id: usize) -> bool {
        if self.is_due(&self.sockets[id]) {
            self.overdue.insert(id);
        }
        self.overdue.contains(&id)
    }

    /// Whether what it is closed for the want of is here, and nobody has looked.
    fn is_unheard(&self, id: usize) -> bool {
        let socket = &self.sockets[id];
        let is_here = match self.owes(id) {
            Owes::Receive => socket.is_readable(),
            Owes::Close(_) => socket.fin && socket.unread() == 0,
            Owes::Byte(_) => socket.room > 0,
        };
        is_here && self.interrupts == 0 && socket.driven_at != Some(self.now)
    }

    /// Why the server had to close the socket; it must not without a reason.
    pub(super) fn reason(&self, id: usize) -> &'static str {
        let (socket, owes) = (&self.sockets[id], self.owes(id));
        let ended = match owes {
            Owes::Close(end) => Some(M::ENDS[usize::from(end.0)]),
            Owes::Byte(_) | Owes::Receive => None,
        };
        let lingers = socket.half_closed_at.is_some();
        let is_last_step = if lingers {
            self.rules.linger.is_zero()
        } else {
            socket.fin_came
        };
        let is_due = self.is_due(socket);
        let is_over = self.grace_ends.is_some_and(|end| end <= self.now);
        let is_too_many =
            self.rules.full == Full::OldestLeaves && self.open.len() > self.rules.capacity;
        match (socket.last, ended) {
            (Last::Reset, _) => "reset",
            (Last::Fault, _) => "failed",
            (Last::Fin, Some(end)) => end,
            (Last::Fin, None) if owes == Owes::Receive => "left early",
            (_, Some(end)) if is_last_step => end,
            _ if is_too_many => {
                self.assert_is_oldest(id);
                "made room"
            }
            _ if (is_due || is_over) && self.is_unheard(id) => {
                panic!("connection {id} is closed unheard")
            }
            _ if is_due && !lingers => "timed out",
            _ if is_due || is_over && lingers => "lingering cut",
            _ if is_over => "shut down",
            _ => panic!("connection {id} was closed without a reason"),
        }
    }

    /// It leaves before all others that could, and the newcomer only if nobody else can.
    fn assert_is_oldest(&self, id: usize) {
        let could = |id: &usize| self.deadline(&self.sockets[*id]);
        let others = self.open.iter().filter(|id| Some(**id) != self.newcomer);
        match others.filter_map(could).min() {
            Some(oldest) => {
                assert_ne!(Some(id), self.newcomer, "the newcomer leaves");
                assert_eq!(could(&id), Some(oldest), "connection {id} leaves");
            }
            None => assert_eq!(Some(id), self.newcomer, "one without a deadline leaves"),
        }
    }
}
