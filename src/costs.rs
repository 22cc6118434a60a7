//! What an exchange costs: the system calls in order, why each is there, and which ones were saved.
//! A page to read; there is no code in this module.
//!
//! The kernel causes nearly all of a connection's cost. So the server makes few calls, prefers
//! those that make the kernel do less, and takes no memory for silent clients.
//! `tests/suite/costs.rs` and `tests/reactor` check the counts below. The timings come from
//! `cargo bench --bench lockstep` and `--bench peers` on Linux 6.18.
//!
//! # The calls
//!
//! A client that is served alone and waits for each answer takes 12:
//!
//! | | call | why |
//! |---|---|---|
//! | 1 | `epoll_wait` | somebody has connected |
//! | 2 | `accept4` | with SOCK_NONBLOCK and SOCK_CLOEXEC, which saves three calls of fcntl(2) |
//! | 3 | `sendto` | the greeting, before the socket is registered: a new socket has room |
//! | 4 | `epoll_ctl` | the one registration, for reading; it reports what has come meanwhile |
//! | 5 | `accept4` | `EAGAIN`: nobody else waits |
//! | 6 | `epoll_wait` | the message is here |
//! | 7 | `recvfrom` | the message; shorter than the buffer, so it was all, and no second one asks |
//! | 8 | `sendto` | the echo, with MSG_MORE |
//! | 9 | `shutdown` | the FIN, which pushes the echo: one segment for both |
//! | 10 | `epoll_wait` | the client's FIN is here |
//! | 11 | `recvfrom` | 0: that is the FIN |
//! | 12 | `close` | and the kernel forgets the registration |
//!
//! A client that sends its FIN with its message (`nc -N`) takes 10: the event reports a FIN, so the
//! server receives it (11) right after the echo. Then close(2) is enough to send our FIN, and the
//! calls 9 and 10 are not needed.
//!
//! Under load all clients of a batch share the three waits and the call 5. With 64 clients at a
//! time each takes 8.13 calls if the server is the slower side. If it is the faster side, it sleeps
//! between the events of one exchange, and the count is between 8.13 and 12.
//!
//! A socket that was passed in costs more. Others may make it block at any time, so fcntl(2) checks
//! this before each accept4. And the listener's options belong to the others, too, so TCP_QUICKACK
//! is set on each client's socket. That makes 15 calls for a client that is served alone.
//!
//! # The segments
//!
//! Ten, both ways: SYN, SYN-ACK, ACK; the greeting and its ACK; the message; the echo with the FIN;
//! the client's ACK of that, its FIN, and our ACK. Two are saved: the echo and the FIN share one,
//! and the echo acknowledges the message, because TCP_QUICKACK is off on the listener and its
//! clients' sockets inherit that.
//!
//! # What was saved, and what it gave
//!
//! - **MSG_MORE and then shutdown(2)**: saves 13 % (1000 bytes) to 14 % (64 bytes) of the CPU time
//!   of an exchange, at 64 at a time. This saving has a trap: close(2) with unread input would drop
//!   the echo that is held back. So the half-close always comes in between, in the same turn,
//!   unless the client's FIN has been received; nothing can be unread after it.
//! - **Sixteen accepts a turn** instead of all that wait: the clients that were greeted are served
//!   while their sockets are still in the processor's caches. With 2,000 at a time this takes 0.77
//!   to 0.84 of a loop that accepts all; with 64 it makes no difference.
//! - **MSG_TRUNC** while lingering: bytes that are discarded are not copied.
//! - **One scratch buffer** for all clients, and one reserved table: an exchange allocates nothing,
//!   and a silent client is one entry of 40 bytes.
//!
//! # What was tried and did not help
//!
//! - **Ending the run of accepts before `EAGAIN`** and re-arming the listener (`EPOLL_CTL_MOD`),
//!   with a run that learns how many come: a re-arm is cheaper than a failing accept4, but a run
//!   that is cut too short makes another turn. Two-process and lockstep runs showed no difference
//!   beyond their spread.
//!
//! A lingering close costs a wake-up for the FIN and a receive more than an abrupt one, on purpose:
//! closing at once after a short read loses the echo of a client that has more to send, as soon as
//! a segment is lost on the way. `--linger 0` does without it.
