//! The systems as tables: what their errors mean, and how long a backlog they allow. Each system
//! uses its own table, and the tests on every system go through all of them.

use std::io;

use crate::reactor::Verdict;

/// What distinguishes a kernel, in numbers.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Errors of accept(2) that do not mean what [`Verdict::of`] says.
    accept: &'static [(i32, Verdict)],
    /// Errors of send(2) that stand for another error.
    send: &'static [(i32, i32)],
    /// The longest backlog that listen(2) understands.
    most_backlog: i32,
}

#[cfg_attr(not(test), allow(dead_code, reason = "each system uses its own"))]
impl Kernel {
    /// accept(2): "Linux accept() passes already-pending network errors on the new socket as an error
    /// code from accept()". ENONET (64) is the one of them that no other system has.
    pub(super) const LINUX: Self = Self {
        accept: &[(64, Verdict::Next)],
        send: &[],
        most_backlog: i32::MAX,
    };

    /// FreeBSD, NetBSD and OpenBSD.
    pub(super) const BSD: Self = Self {
        accept: &[],
        send: &[],
        most_backlog: i32::MAX,
    };

    /// accept(2) fails with EINVAL (22) there when the client has reset its connection by then
    /// (rust-lang/socket2#631, apple/swift-nio#1030, capnproto/capnproto#2365). send(2) that meets the
    /// peer's close fails with EPROTOTYPE (41), as if it were EPIPE (32; tokio-rs/mio#1364). listen(2)
    /// keeps 16 bits of the backlog, one of them for the sign (tarantool/tarantool#8130).
    pub(super) const MACOS: Self = Self {
        accept: &[(22, Verdict::Next)],
        send: &[(41, 32)],
        most_backlog: i16::MAX as i32,
    };

    /// What an error of accept(2) means.
    pub(crate) fn judge(&self, error: &io::Error) -> Verdict {
        let errno = error.raw_os_error();
        let ours = self.accept.iter().find(|(own, _)| Some(*own) == errno);
        ours.map_or_else(|| Verdict::of(error), |(_, verdict)| *verdict)
    }

    /// The error that an error of send(2) stands for.
    pub(crate) fn sent(&self, error: io::Error) -> io::Error {
        let errno = error.raw_os_error();
        let other = self.send.iter().find(|(own, _)| Some(*own) == errno);
        other.map_or(error, |(_, truth)| io::Error::from_raw_os_error(*truth))
    }

    /// The backlog that listen(2) is called with.
    pub(crate) fn backlog(&self, asked: u32) -> i32 {
        let asked = i32::try_from(asked).unwrap_or(i32::MAX);
        asked.min(self.most_backlog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: (&str, Kernel) = ("Linux", Kernel::LINUX);
    const BSD: (&str, Kernel) = ("FreeBSD, NetBSD, OpenBSD", Kernel::BSD);
    const MACOS: (&str, Kernel) = ("macOS", Kernel::MACOS);

    #[test]
    fn the_errors_of_accept_by_system() {
        use Verdict::{Drained, Fatal, Next, Pause};
        for ((name, kernel), errno, verdict) in [
            (LINUX, libc::EINVAL, Fatal),
            (LINUX, 64, Next), // ENONET
            (LINUX, libc::ECONNABORTED, Next),
            (LINUX, libc::EPERM, Next),
            (LINUX, libc::EMFILE, Pause),
            (LINUX, libc::EAGAIN, Drained),
            (BSD, libc::EINVAL, Fatal), // it does not listen
            (BSD, libc::ECONNABORTED, Next),
            (BSD, libc::EINTR, Next),
            (BSD, libc::EMFILE, Pause),
            (BSD, libc::ENFILE, Pause),
            (BSD, libc::EBADF, Fatal),
            (BSD, libc::EAGAIN, Drained),
            (MACOS, libc::EINVAL, Next), // the client has reset its connection
            (MACOS, libc::ECONNABORTED, Next),
            (MACOS, libc::EMFILE, Pause),
            (MACOS, libc::ENOMEM, Pause),
            (MACOS, libc::EBADF, Fatal),
            (MACOS, libc::ENOTSOCK, Fatal),
            (MACOS, libc::EAGAIN, Drained),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(kernel.judge(&error), verdict, "{error} on {name}");
        }
        for (name, kernel) in [LINUX, BSD, MACOS] {
            let judged = |errno| kernel.judge(&io::Error::from_raw_os_error(errno));
            let fatal = (1..4096).filter(|errno| judged(*errno) == Fatal);
            assert!(fatal.count() <= 3, "{name}: an unknown errno is survived");
        }
    }

    #[test]
    fn the_errors_of_send_by_system() {
        for ((name, kernel), errno, truth) in [
            (LINUX, libc::EPIPE, libc::EPIPE),
            (LINUX, 41, 41), // no error of send(2) there
            (BSD, libc::ECONNRESET, libc::ECONNRESET),
            (BSD, 41, 41),
            (MACOS, 41, libc::EPIPE), // EPROTOTYPE
            (MACOS, libc::ECONNRESET, libc::ECONNRESET),
            (MACOS, libc::EAGAIN, libc::EAGAIN),
        ] {
            let error = kernel.sent(io::Error::from_raw_os_error(errno));
            assert_eq!(error.raw_os_error(), Some(truth), "{errno} on {name}");
        }
    }

    #[test]
    fn the_longest_backlogs_by_system() {
        for ((name, kernel), asked, called) in [
            (LINUX, 1, 1),
            (LINUX, 32_768, 32_768),
            (LINUX, u32::MAX, i32::MAX),
            (BSD, 65_536, 65_536),
            (MACOS, 4096, 4096),
            (MACOS, 32_768, 32_767), // as 16 bits it is negative
            (MACOS, 65_536, 32_767), // as 16 bits it is 0
        ] {
            assert_eq!(kernel.backlog(asked), called, "{asked} on {name}");
        }
    }
}
