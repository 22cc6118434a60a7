//! The protocol machine alone, without a system call: nanoseconds per exchange.

#![allow(missing_docs, reason = "criterion's macros make a main that has none")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hello_echo::Config;
use hello_echo::session::{Session, Want};

/// One exchange of a 1000 byte message. Of an echo the kernel takes `fits` bytes at first; the rest
/// is kept, as it must be before another session may use the scratch buffer.
fn exchange(config: &Config, scratch: &[u8], fits: usize) -> usize {
    let mut session = Session::new(config);
    let mut echoed = 0;
    let mut receives = [1000, 0].into_iter();
    loop {
        match session.want(config, black_box(scratch)) {
            Want::Send { bytes, .. } => {
                let n = if echoed == 0 {
                    bytes.len().min(fits)
                } else {
                    bytes.len()
                };
                echoed += n;
                session.handle_sent(n, config);
                session.keep(scratch);
            }
            Want::Receive | Want::Discard => {
                session.handle_received(receives.next().unwrap_or(0), config)
            }
            Want::HalfClose => session.handle_half_closed(config),
            Want::Close(_) => return echoed,
        }
    }
}

fn session(criterion: &mut Criterion) {
    let mut config = Config::default();
    config.greeting.clear(); // so that the first bytes sent are the echo's
    let scratch = vec![7; 64 << 10];
    let mut group = criterion.benchmark_group("session");
    group.throughput(Throughput::Elements(1));
    for (name, fits) in [("whole writes", 1000), ("a short write", 300)] {
        assert_eq!(exchange(&config, &scratch, fits), 1000);
        group.bench_function(name, |b| b.iter(|| exchange(&config, &scratch, fits)));
    }
    group.finish();
}

criterion_group!(benches, session);
criterion_main!(benches);
