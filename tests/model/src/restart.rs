//! The model: what each party may do next, and what that changes.
//!
//! Time is left out: whatever can happen next may, after any delay. Two delays are promises, and so are
//! not left to chance: a handshake without loss ends within the half second for which a closed queue can be
//! joined, and a client that was accepted is done within the grace.
//!
//! Each step is whole: what two cores do at once, one closing a listener, is below this model.

use std::fmt::Debug;

use stateright::{Model, Property};

pub const CLIENTS: usize = 3;

/// How many clients a process can have at once: fewer than come.
const CAPACITY: usize = 1;

/// What is true of a run, and how much happens in it.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub name: &'static str,
    pub queue: Queue,
    /// A process is only told to end while the other serves.
    pub in_turn: bool,
    /// How often a process is told to end, is killed, and a client's last ACK is lost.
    pub ends: u8,
    pub kills: u8,
    pub losses: u8,
    /// What the server does wrong.
    pub habit: Habit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// One listener, which the manager keeps.
    Passed,
    /// A listener for each process, on one port. Whether the kernel moves the queue and the handshakes of
    /// one that is closed to the other, and whether the process that has them then is told.
    Own { moves: bool, told: bool },
}

/// The server's, and habits with which the promise is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    Ours,
    /// It closes the listener as soon as it is told to end.
    ClosesAtOnce,
    /// It closes the listener when its queue is empty, whoever is about to join.
    ForgetsHandshakes,
    /// It does not look at the queue again when there is room.
    ForgetsTheQueue,
    /// It does not look again whether the other process, which was to inherit, is still there.
    TrustsTheHeir,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    processes: [Process; 2],
    /// With a passed queue, the first is everybody's.
    listeners: [Listener; 2],
    pub clients: [Client; CLIENTS],
    ends: u8,
    kills: u8,
    losses: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Process {
    Absent,
    Starting,
    /// Whether its poll has an event of the listener.
    Serving {
        edge: bool,
    },
    /// It was told to end, and accepts what is in the queue. Whether the other process inherits the rest.
    Closing {
        leaves: bool,
    },
    /// It has no listener any more, and serves those that it has.
    Finishing,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Listener {
    open: bool,
    /// It drops newcomers' SYNs.
    filtered: bool,
    queue: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Its SYN is on the way, or will be sent again.
    Connecting,
    /// It believes to be connected, and its ACK is on the way to this listener.
    Handshake(usize),
    /// The ACK was lost. The listener would send its SYN-ACK again.
    Unheard(usize),
    Queued,
    Accepted(usize),
    Served,
    /// Nobody listened, and it knows.
    Refused,
    /// Nobody has promised anything for this case.
    Excused,
    /// It was reset, or waits for ever, against the promise.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Start(usize),
    Listen(usize),
    End(usize),
    Kill(usize),
    /// The process handles its edge, or in a shutdown looks without one.
    Accept(usize),
    CloseListener(usize),
    Exit(usize),
    Syn(usize, usize),
    Refuse(usize),
    Ack(usize),
    LoseAck(usize),
    SendSynAckAgain(usize),
    Serve(usize),
}

impl Model for Setup {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            processes: [Process::Serving { edge: false }, Process::Absent],
            listeners: Default::default(),
            clients: [Client::Connecting; CLIENTS],
            ends: self.ends,
            kills: self.kills,
            losses: self.losses,
        };
        state.listeners[0].open = true;
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for p in 0..2 {
            self.actions_of(state, p, actions);
        }
        let shut = |l: &Listener| !l.open;
        for (c, client) in state.clients.iter().enumerate() {
            match *client {
                Client::Connecting => {
                    let hear =
                        |l: &usize| state.listeners[*l].open && !state.listeners[*l].filtered;
                    actions.extend((0..2).filter(hear).map(|l| Action::Syn(c, l)));
                    if state.listeners.iter().all(shut) {
                        actions.push(Action::Refuse(c));
                    }
                }
                Client::Handshake(_) => {
                    actions.push(Action::Ack(c));
                    if state.losses > 0 {
                        actions.push(Action::LoseAck(c));
                    }
                }
                Client::Unheard(_) => actions.push(Action::SendSynAckAgain(c)),
                Client::Accepted(_) => actions.push(Action::Serve(c)),
                _ => {}
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Start(p) => state.processes[p] = Process::Starting,
            Action::Listen(p) => {
                let l = self.listener_of(p);
                state.listeners[l].open = true;
                // Registering reports a queue that is not empty.
                let edge = !state.listeners[l].queue.is_empty();
                state.processes[p] = Process::Serving { edge };
            }
            Action::End(p) => self.end(&mut state, p),
            Action::Kill(p) => self.kill(&mut state, p),
            Action::Accept(p) => self.accept(&mut state, p),
            Action::CloseListener(p) => {
                let leaves = state.processes[p] == Process::Closing { leaves: true };
                if leaves && !state.listeners[1 - p].open && self.habit != Habit::TrustsTheHeir {
                    state.processes[p] = Process::Closing { leaves: false };
                    state.listeners[p].filtered = true;
                } else {
                    state.processes[p] = Process::Finishing;
                    self.close_listener(&mut state, p, false);
                }
            }
            Action::Exit(p) => state.processes[p] = Process::Absent,
            Action::Syn(c, l) => state.clients[c] = Client::Handshake(l),
            Action::Refuse(c) => state.clients[c] = Client::Refused,
            Action::Ack(c) => {
                let Client::Handshake(l) = state.clients[c] else {
                    return None;
                };
                self.join(&mut state, c, l);
            }
            Action::LoseAck(c) => {
                let Client::Handshake(l) = state.clients[c] else {
                    return None;
                };
                state.losses -= 1;
                state.clients[c] = Client::Unheard(l);
            }
            Action::SendSynAckAgain(c) => {
                let Client::Unheard(l) = state.clients[c] else {
                    return None;
                };
                state.clients[c] = Client::Handshake(l);
            }
            Action::Serve(c) => {
                let Client::Accepted(p) = state.clients[c] else {
                    return None;
                };
                state.clients[c] = Client::Served;
                self.rearm(&mut state, p);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nobody is lost", |_, state: &State| {
                !state.clients.contains(&Client::Lost)
            }),
            Property::always("nobody waits for ever", |setup: &Setup, state: &State| {
                let mut actions = vec![];
                setup.actions(state, &mut actions);
                let waits =
                    |c: &Client| !matches!(c, Client::Served | Client::Refused | Client::Excused);
                !actions.is_empty() || !state.clients.iter().any(waits)
            }),
            Property::always(
                "nobody is refused while one of the two serves",
                |setup: &Setup, state: &State| {
                    let refusing =
                        matches!(setup.queue, Queue::Passed) || setup.in_turn && setup.kills == 0;
                    !refusing || !state.clients.contains(&Client::Refused)
                },
            ),
            Property::sometimes("all are served, after every restart", |_, state: &State| {
                state.ends == 0 && state.clients == [Client::Served; CLIENTS]
            }),
        ]
    }
}

impl Setup {
    fn listener_of(&self, p: usize) -> usize {
        if self.queue == Queue::Passed { 0 } else { p }
    }

    fn actions_of(&self, state: &State, p: usize, actions: &mut Vec<Action>) {
        let l = self.listener_of(p);
        let listener = &state.listeners[l];
        let has_room = state.held(p) < CAPACITY;
        let under_way = state.clients.contains(&Client::Handshake(l));
        match state.processes[p] {
            Process::Absent => actions.push(Action::Start(p)),
            Process::Starting => actions.push(Action::Listen(p)),
            Process::Serving { edge } => {
                let other_serves = matches!(state.processes[1 - p], Process::Serving { .. });
                if state.ends > 0 && (other_serves || !self.in_turn) {
                    actions.push(Action::End(p));
                }
                if edge {
                    actions.push(Action::Accept(p));
                }
            }
            Process::Closing { leaves } => {
                if has_room && !listener.queue.is_empty() {
                    actions.push(Action::Accept(p));
                }
                let may_leave = match self.queue {
                    Queue::Passed => true, // when half of the grace is over
                    _ if self.habit == Habit::ForgetsHandshakes => listener.queue.is_empty(),
                    _ => listener.queue.is_empty() && (leaves || !under_way),
                };
                if may_leave {
                    actions.push(Action::CloseListener(p));
                }
            }
            Process::Finishing if state.held(p) == 0 => actions.push(Action::Exit(p)),
            Process::Finishing => {}
        }
        if state.kills > 0 && state.processes[p] != Process::Absent {
            actions.push(Action::Kill(p));
        }
    }

    fn end(&self, state: &mut State, p: usize) {
        state.ends -= 1;
        let inherits = self.queue
            == Queue::Own {
                moves: true,
                told: true,
            };
        let leaves = inherits && state.listeners[1 - p].open;
        state.processes[p] = Process::Closing { leaves };
        if self.habit == Habit::ClosesAtOnce {
            state.processes[p] = Process::Finishing;
            self.close_listener(state, p, false);
        } else if self.queue != Queue::Passed && !leaves {
            state.listeners[p].filtered = true;
        }
    }

    fn kill(&self, state: &mut State, p: usize) {
        state.kills -= 1;
        for client in &mut state.clients {
            if *client == Client::Accepted(p) {
                *client = Client::Excused;
            }
        }
        let listened = matches!(
            state.processes[p],
            Process::Serving { .. } | Process::Closing { .. }
        );
        state.processes[p] = Process::Absent;
        if listened {
            self.close_listener(state, p, true);
        }
    }

    /// One client, and then the edge again if there are more.
    fn accept(&self, state: &mut State, p: usize) {
        let l = self.listener_of(p);
        if let Process::Serving { edge } = &mut state.processes[p] {
            *edge = false;
        }
        if state.held(p) == CAPACITY || state.listeners[l].queue.is_empty() {
            return;
        }
        let c = state.listeners[l].queue.remove(0);
        state.clients[c] = Client::Accepted(p);
    }

    /// A client has left, so there is room.
    fn rearm(&self, state: &mut State, p: usize) {
        let waits = !state.listeners[self.listener_of(p)].queue.is_empty();
        if let Process::Serving { edge } = &mut state.processes[p] {
            *edge |= waits && self.habit != Habit::ForgetsTheQueue;
        }
    }

    /// The handshake is over: every process that listens there has an edge.
    fn join(&self, state: &mut State, c: usize, l: usize) {
        state.clients[c] = Client::Queued;
        state.listeners[l].queue.push(c);
        for p in 0..2 {
            if let Process::Serving { edge } = &mut state.processes[p] {
                *edge |= self.listener_of(p) == l;
            }
        }
    }

    /// What the kernel does with the queue and the handshakes of a listener that its process has closed.
    fn close_listener(&self, state: &mut State, p: usize, excused: bool) {
        let Queue::Own { moves, told } = self.queue else {
            return; // the manager has it, too
        };
        let queue = std::mem::take(&mut state.listeners[p]).queue;
        let heir = 1 - p;
        let has_heir = moves && state.listeners[heir].open;
        for c in 0..CLIENTS {
            let client = state.clients[c];
            let is_queued = queue.contains(&c);
            if !is_queued && ![Client::Handshake(p), Client::Unheard(p)].contains(&client) {
                continue;
            }
            match client {
                _ if has_heir && !told => state.clients[c] = Client::Excused, // a fault of the kernel
                Client::Queued if has_heir => self.join(state, c, heir),
                Client::Handshake(_) if has_heir => state.clients[c] = Client::Handshake(heir),
                Client::Unheard(_) if has_heir => state.clients[c] = Client::Unheard(heir),
                Client::Unheard(_) => state.clients[c] = Client::Excused,
                _ if excused => state.clients[c] = Client::Excused,
                _ => state.clients[c] = Client::Lost,
            }
        }
    }
}

impl State {
    fn held(&self, p: usize) -> usize {
        self.clients
            .iter()
            .filter(|c| **c == Client::Accepted(p))
            .count()
    }
}
