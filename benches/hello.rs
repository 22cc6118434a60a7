//! The protocol hello alone, without a system call: nanoseconds per exchange.

#![allow(missing_docs, reason = "criterion's macros make a main that has none")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hello_echo::hello::{Hello, Settings};
use hello_echo::{Protocol, Want};

/// One exchange of a 1000 byte message. Of an echo the kernel takes `fits` bytes at first; the rest
/// is kept, as it must be before another session may use the scratch buffer.
fn exchange(settings: &mut Settings, scratch: &[u8], fits: usize) -> usize {
    let mut hello = Hello::open(settings);
    let mut echoed = 0;
    loop {
        match hello.want(settings, black_box(scratch)) {
            Want::Send(bytes) | Want::SendLast(bytes) | Want::Stream(bytes) => {
                let n = if echoed == 0 {
                    bytes.len().min(fits)
                } else {
                    bytes.len()
                };
                echoed += n;
                hello.handle_sent(n, settings);
                hello.keep(scratch);
            }
            Want::Receive => hello.handle_received(&scratch[..1000], settings),
            Want::Close(_) => return echoed,
        }
    }
}

fn hello(criterion: &mut Criterion) {
    let mut settings = Settings::default();
    settings.greeting.clear(); // so that the first bytes sent are the echo's
    let scratch = vec![7; 64 << 10];
    let mut group = criterion.benchmark_group("hello");
    group.throughput(Throughput::Elements(1));
    for (name, fits) in [("whole writes", 1000), ("a short write", 300)] {
        assert_eq!(exchange(&mut settings, &scratch, fits), 1000);
        group.bench_function(name, |b| b.iter(|| exchange(&mut settings, &scratch, fits)));
    }
    group.finish();
}

criterion_group!(benches, hello);
criterion_main!(benches);
