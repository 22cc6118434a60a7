//! The reactor alone, without a system call, with 1,000 to 1,000,000 clients in its table: how long
//! it takes to admit one, to serve one beside the others, and to let one expire. Every operation is
//! O(1), so the figures of a line are equal, except for the caches.

#![allow(missing_docs, reason = "criterion's macros make a main that has none")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that meets an error has no figure to give"
)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hello_echo::hello::{Hello, Settings};
use hello_echo::reactor::{Event, Moment, Reactor, Rules, Stream, System};
use mio::Interest;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// One listener, with so many in its queue.
struct Queue(usize);

/// A client that always has a message, and then its FIN, unless all are silent. It is as large as a
/// socket's descriptor.
struct Client(u32);

static SILENT: AtomicBool = AtomicBool::new(false);

impl System for Queue {
    type Listener = &'static str;
    type Stream = Client;
    type Peer = usize;

    fn accept(&mut self, _: &&'static str) -> io::Result<(Client, usize)> {
        let left = self.0.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        self.0 = left;
        Ok((Client(0), left))
    }

    fn close_queue(&mut self, _: &&'static str) -> io::Result<Option<Duration>> {
        Ok(Some(Duration::ZERO))
    }

    fn watch_queue(&mut self, _: &&'static str, _: Moment) -> (Option<Moment>, Option<String>) {
        (None, None)
    }

    fn forget(&mut self, _: &&'static str) {}

    fn rearm(&mut self, _: usize, _: &&'static str) -> io::Result<()> {
        Ok(())
    }

    fn register(&mut self, _: usize, _: &Client, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn reregister(&mut self, _: usize, _: &Client, _: Interest) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Client {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if SILENT.load(Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[0] = b'x'; // what the rest is does not matter to hello
        Ok(1000)
    }

    fn discard(&mut self, _: usize) -> io::Result<usize> {
        Ok(0)
    }

    fn send(&mut self, bytes: &[u8], _more: bool) -> io::Result<usize> {
        self.0 += 1;
        Ok(bytes.len())
    }

    fn half_close(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn short_is_all(&self) -> bool {
        true
    }
}

fn event(key: usize) -> std::array::IntoIter<Event, 1> {
    [Event { key, fin: false }].into_iter()
}

/// The listener's key: there is one, and it came first.
const LISTENER: usize = 0;

/// A table with so many in it and, besides them, `room` for more.
fn filled(held: usize, room: usize) -> Reactor<Queue, Hello> {
    let rules = Rules::new(held + room);
    let mut reactor = Reactor::new(Queue(0), vec!["a queue"], Settings::default(), rules);
    admit(&mut reactor, held, Moment::START);
    reactor
}

/// All of them arrive at once, as many as allowed in each turn.
fn admit(reactor: &mut Reactor<Queue, Hello>, count: usize, now: Moment) -> Duration {
    reactor.system.0 = count;
    let start = Instant::now();
    while reactor.system.0 > 0 {
        reactor.handle(event(LISTENER), now).unwrap();
    }
    start.elapsed()
}

/// All of them time out at once, as many as allowed in each turn, and have sent nothing.
fn expire(reactor: &mut Reactor<Queue, Hello>) -> Duration {
    SILENT.store(true, Relaxed);
    let start = Instant::now();
    while reactor.clients() > 0 {
        reactor.handle([].into_iter(), late()).unwrap();
    }
    let time = start.elapsed();
    SILENT.store(false, Relaxed);
    time
}

fn late() -> Moment {
    Moment::START.after(Settings::default().timeout)
}

/// `whole` operations took `time`. Returns how long `some` would have taken.
fn scale(time: Duration, whole: usize, some: u64) -> Duration {
    time.mul_f64(some as f64 / whole as f64)
}

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for held in SIZES {
        group.bench_function(BenchmarkId::new("admit", held), |b| {
            // A table that was full before. The kernel hands out a page at its first touch, once
            // (26 ns for each client), and this is not in the figure.
            let mut reactor = filled(held, 0);
            b.iter_custom(|iterations| {
                expire(&mut reactor);
                scale(admit(&mut reactor, held, Moment::START), held, iterations)
            });
        });
        group.bench_function(BenchmarkId::new("serve beside", held), |b| {
            let mut reactor = filled(held, 1);
            let key = held + 1; // the slab's next, and again when it is free
            b.iter(|| serve(&mut reactor, key));
            assert_eq!(reactor.clients(), held);
            assert!(reactor.stats().ended(Hello::ECHOED) > 0);
        });
        group.bench_function(BenchmarkId::new("expire", held), |b| {
            b.iter_custom(|iterations| scale(expire(&mut filled(held, 0)), held, iterations));
        });
    }
    group.finish();
}

/// A client comes, is echoed and leaves: three events.
fn serve(reactor: &mut Reactor<Queue, Hello>, key: usize) {
    reactor.system.0 = 1;
    for key in [LISTENER, key, key] {
        reactor.handle(event(key), Moment::START).unwrap();
    }
}

criterion_group!(benches, table);
criterion_main!(benches);
