//! The other threads of a run. A thread shares nothing with another one while exchanges come and
//! go. It learns when a stage begins, reports when its part of the stage is over, and hands its
//! record over at the end.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::Waker;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::worker::{Waits, Worker};
use crate::load::machine::record::{Outcomes, Record};
use crate::load::machine::schedule::Stage;
use crate::reactor::deadlines::Moment;

/// The longest time that a thread sleeps, and how often it reports its progress.
const TICK: Duration = Duration::from_millis(100);

/// The signals that only the thread which caught them may receive: they interrupt no other thread.
const SIGNALS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGUSR1,
];

/// An order to a thread.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// The next stage begins at this moment.
    Advance(Moment),
    /// Begin nothing more.
    Stop(Moment),
    CutShort(Moment),
    /// Send a copy of the record.
    Report,
    /// Send the record, and go on with an empty one.
    Cut,
}

/// A report of a thread.
enum News {
    /// Its part of this stage is over.
    StageOver(Stage),
    Status(Status),
    Report(Box<Record>),
    /// It ends, because the run is over or because of an error.
    Ends,
}

/// News, and the place of its sender among the members.
type Told = (usize, News);

/// How far a thread is.
#[derive(Clone, Default)]
pub(super) struct Status {
    pub(super) outcomes: Outcomes,
    pub(super) progress: f64,
}

/// Sends to a thread and wakes its poll.
struct Post<T> {
    sender: Sender<T>,
    waker: Arc<Waker>,
}

impl<T> Post<T> {
    /// A thread that is not there any more needs no message. One that cannot be woken reads the message
    /// after its [`TICK`].
    fn send(&self, message: T) {
        let _ = self.sender.send(message);
        let _ = self.waker.wake();
    }
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        Self { sender, waker }
    }
}

/// What a thread hands over when it ends.
type Ended = (Record, io::Result<()>);

struct Member {
    orders: Post<Order>,
    thread: JoinHandle<Ended>,
    /// The last stage whose part is over.
    over: Option<Stage>,
    status: Status,
    /// It has reported that it ends.
    ends: bool,
}

/// All threads but the first.
pub(super) struct Team {
    /// Those that have not started yet, and what will wake them.
    waiting: Vec<(Worker, Arc<Waker>)>,
    members: Vec<Member>,
    /// What the members tell. There is none if this thread is alone.
    news: Option<(Post<Told>, Receiver<Told>)>,
}

impl Team {
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(first: &Worker, others: Vec<Worker>) -> io::Result<Self> {
        let mut news = None;
        if !others.is_empty() {
            let (sender, receiver) = mpsc::channel();
            let waker = first.waker()?;
            news = Some((Post { sender, waker }, receiver));
        }
        let with_waker = |worker: Worker| worker.waker().map(|waker| (worker, waker));
        Ok(Self {
            waiting: others
                .into_iter()
                .map(with_waker)
                .collect::<io::Result<_>>()?,
            members: vec![],
            news,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.news.is_none()
    }

    /// Takes each thread's share of the memory for so many connections.
    pub(super) fn reserve(&mut self, connections: u64) {
        let workers = self.waiting.iter_mut();
        workers.for_each(|(worker, _)| worker.clients.reserve(connections));
    }

    /// Starts the threads, if they have not started yet. They inherit a signal mask, so that there is no
    /// moment at which one of them would receive a signal.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let workers = mem::take(&mut self.waiting);
        let Some((news, _)) = self.news.as_ref().filter(|_| !workers.is_empty()) else {
            return Ok(());
        };
        let blocked: SigSet = SIGNALS.into_iter().collect();
        let mask = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let mut started = Ok(());
        for (worker, waker) in workers {
            match Member::start(worker, waker, self.members.len(), news) {
                Ok(member) => self.members.push(member),
                Err(e) => {
                    let why = format!("cannot start a thread: {e}");
                    started = Err(io::Error::new(e.kind(), why));
                    break;
                }
            }
        }
        mask.thread_set_mask()?;
        started
    }

    pub(super) fn tell(&self, order: Order) {
        self.members
            .iter()
            .for_each(|member| member.orders.send(order));
    }

    /// Reads what the members have reported. Returns whether one of them ends.
    pub(super) fn hear(&mut self) -> bool {
        if let Some((_, receiver)) = &self.news {
            for (place, news) in receiver.try_iter() {
                self.members[place].hear(news); // collect() has read all records that it asked for
            }
        }
        self.members.iter().any(|member| member.ends)
    }

    /// Whether each member's part of the stage is over.
    pub(super) fn has_ended(&self, stage: Stage) -> bool {
        self.members.iter().all(|member| member.over == Some(stage))
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.members.iter().map(|member| &member.status)
    }

    /// Adds a copy of each member's record, as it is now.
    pub(super) fn gather(&mut self, sum: &mut Record) {
        self.collect(Order::Report, sum);
    }

    /// Adds each member's record, as it is now. The member goes on with an empty one.
    pub(super) fn cut(&mut self, sum: &mut Record) {
        self.collect(Order::Cut, sum);
    }

    /// Adds the records that the members send on this order.
    fn collect(&mut self, order: Order, sum: &mut Record) {
        self.tell(order);
        let members = self.members.iter().enumerate();
        let there = members.filter(|(_, member)| !member.ends);
        let mut missing: BTreeSet<usize> = there.map(|(place, _)| place).collect();
        let receiver = self.news.as_ref().map(|(_, receiver)| receiver);
        let next =
            |missing: &BTreeSet<usize>| receiver.filter(|_| !missing.is_empty())?.recv().ok();
        while let Some((place, news)) = next(&missing) {
            let member = &mut self.members[place];
            let record = member.hear(news);
            if record.is_some() || member.ends {
                missing.remove(&place);
            }
            if let Some(record) = record {
                sum.add(&record, Duration::ZERO);
            }
        }
    }

    /// Waits until the members end, as they have been ordered to. Adds their records, and returns
    /// the first error of any of them.
    pub(super) fn end(&mut self, sum: &mut Record) -> io::Result<()> {
        let mut ended = Ok(());
        for member in self.members.drain(..) {
            let joined = member.thread.join();
            let (record, result) = joined.map_err(|_| io::Error::other("a thread has panicked"))?;
            sum.add(&record, Duration::ZERO);
            ended = ended.and(result);
        }
        ended
    }
}

impl Member {
    fn start(
        worker: Worker,
        waker: Arc<Waker>,
        place: usize,
        news: &Post<Told>,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let orders = Post { sender, waker };
        let farewell = Farewell(place, news.clone());
        let name = format!("load-{}", place + 2);
        let thread = std::thread::Builder::new().name(name);
        Ok(Self {
            orders,
            thread: thread.spawn(move || run(worker, &receiver, &farewell))?,
            over: None,
            status: Status::default(),
            ends: false,
        })
    }

    /// Returns the record, if it has sent that.
    fn hear(&mut self, news: News) -> Option<Box<Record>> {
        match news {
            News::StageOver(stage) => self.over = Some(stage),
            News::Status(status) => self.status = status,
            News::Report(record) => return Some(record),
            News::Ends => self.ends = true,
        }
        None
    }
}

/// Reports that the thread ends, also if it panics.
struct Farewell(usize, Post<Told>);

impl Farewell {
    fn tell(&self, news: News) {
        self.1.send((self.0, news));
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.tell(News::Ends);
    }
}

/// All that a thread does.
fn run(mut worker: Worker, orders: &Receiver<Order>, news: &Farewell) -> Ended {
    let ended = follow(&mut worker, orders, news);
    if ended.is_err() {
        worker.schedule.cut_short(worker.now());
    }
    worker.end();
    (worker.clients.record, ended)
}

fn follow(worker: &mut Worker, orders: &Receiver<Order>, news: &Farewell) -> io::Result<()> {
    let (mut over, mut told) = (None, Moment::START);
    loop {
        obey(worker, orders, news);
        let stage = worker.stage();
        if stage == Stage::Over {
            return Ok(());
        }
        let waits = worker.begin()?;
        if matches!(waits, Waits::ForOthers) && over != Some(stage) {
            over = Some(stage);
            news.tell(News::StageOver(stage));
        }
        worker.wait(&waits, None, TICK)?;
        worker.mark();
        let now = worker.now();
        if told.until(now) >= TICK {
            told = now;
            let (outcomes, progress) = (worker.record().outcomes.clone(), worker.progress());
            news.tell(News::Status(Status { outcomes, progress }));
        }
    }
}

fn obey(worker: &mut Worker, orders: &Receiver<Order>, news: &Farewell) {
    loop {
        match orders.try_recv() {
            Ok(Order::Advance(at)) => worker.advance(at),
            Ok(Order::Stop(at)) => worker.schedule.stop(at),
            Ok(Order::CutShort(at)) => worker.schedule.cut_short(at),
            Ok(Order::Report) => news.tell(News::Report(Box::new(worker.record().clone()))),
            Ok(Order::Cut) => news.tell(News::Report(Box::new(worker.cut()))),
            Err(TryRecvError::Empty) => return,
            // The run was dropped before its end.
            Err(TryRecvError::Disconnected) => return worker.schedule.cut_short(worker.now()),
        }
    }
}
