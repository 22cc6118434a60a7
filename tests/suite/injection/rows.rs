//! A row of the tables: a call, the errnos that it fails with, and what is right then.

/// One call, and what is right when it fails.
pub(super) struct Row {
    pub(super) call: &'static str,
    /// Words of a line in strace's output: the first of its phase that has all of them fails.
    pub(super) words: &'static [&'static str],
    /// Each makes a case.
    pub(super) errnos: &'static str,
    pub(super) phase: Phase,
    pub(super) options: &'static [&'static str],
    pub(super) log: &'static str,
    /// Whether the log is a socket, which is asked for room, and not a pipe.
    pub(super) asks: bool,
    /// Another fault, which leads to the call.
    pub(super) after: Option<&'static str>,
    pub(super) verdict: Verdict,
    pub(super) counted: Counted,
    /// How often accepting pauses for it.
    pub(super) pauses: u64,
}

/// Harmless, unless more is said of it.
pub(super) fn row(call: &'static str, words: &'static [&'static str], errnos: &'static str) -> Row {
    Row {
        call,
        words,
        errnos,
        phase: Phase::Service,
        // The speed of the machine decides nothing.
        options: &["--linger", "20s"],
        log: "info",
        asks: false,
        after: None,
        verdict: Verdict::Served,
        counted: Counted::As("echoed"),
        pauses: 0,
    }
}

impl Row {
    pub(super) fn at_shutdown(mut self) -> Self {
        self.phase = Phase::Shutdown;
        self
    }

    pub(super) fn pauses(mut self, pauses: u64) -> Self {
        self.pauses = pauses;
        self
    }

    pub(super) fn after(mut self, fault: &'static str) -> Self {
        self.after = Some(fault);
        self
    }

    pub(super) fn logging(mut self, log: &'static str) -> Self {
        self.log = log;
        self
    }

    pub(super) fn logging_to_a_socket(mut self) -> Self {
        self.asks = true;
        self.logging("debug")
    }

    pub(super) fn counted(mut self, counted: Counted) -> Self {
        self.counted = counted;
        self
    }

    pub(super) fn options(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    pub(super) fn is(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    pub(super) fn lost(self) -> Self {
        self.is(Verdict::Lost).counted(Counted::ByErrno)
    }

    /// The log has nothing but the end.
    pub(super) fn fatal(self, what: &'static str) -> Self {
        self.is(Verdict::Fatal(what)).logging("warn")
    }
}

/// When the call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A single client connects, and the next one when it is done.
    Service,
    /// The single client is in the queue when SIGTERM comes.
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The single client is greeted and echoed, and no other one has to push it.
    Served,
    /// It is served, perhaps only when its time is over, because it is driven once more then.
    Late,
    /// The single client is closed, and the next one is served.
    Lost,
    /// The process ends with 1, and with one line that begins so.
    Fatal(&'static str),
    /// It is served when the next client comes: accept4 said that nobody was there.
    Pushed,
    /// SIGTERM is lost; the second one ends it all the same.
    Deaf,
}

/// What the single client counts as in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    As(&'static str),
    /// `reset` or `failed`.
    ByErrno,
}

/// The end of one connection, before it was accepted.
pub(super) const OF_ONE: &str = "ECONNABORTED EINTR EOPNOTSUPP EPERM EPROTO ETIMEDOUT \
    ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH ENETUNREACH ECONNRESET";
/// A shortage, or what cannot be told from one.
pub(super) const OF_ALL: &str =
    "EMFILE ENFILE ENOBUFS ENOMEM EFAULT ENOSR ESOCKTNOSUPPORT EPROTONOSUPPORT";
pub(super) const NO_LISTENER: &str = "EBADF EINVAL ENOTSOCK";
pub(super) const SEND: &str = "\
    EACCES EALREADY EBADF ECONNRESET EDESTADDRREQ EFAULT EINVAL EISCONN EMSGSIZE \
    ENOBUFS ENOMEM ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE ETIMEDOUT EHOSTUNREACH";
pub(super) const RECV: &str = "EBADF ECONNREFUSED EFAULT EINVAL ENOMEM ENOTCONN ENOTSOCK \
    ECONNRESET ETIMEDOUT EHOSTUNREACH";
pub(super) const RECV_SIGNAL: &str =
    "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK";
pub(super) const EPOLL_CTL: &str = "EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM";
pub(super) const NO_POLL: &str = "EBADF EFAULT EINVAL";
pub(super) const SHUTDOWN: &str = "EBADF EINVAL ENOTCONN ENOTSOCK";
pub(super) const CLOSE: &str = "EBADF EINTR EIO ENOSPC EDQUOT";
pub(super) const WRITE: &str = "\
    EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM \
    EPIPE";
pub(super) const SETSOCKOPT: &str = "EBADF EFAULT EINVAL ENOMEM ENOPROTOOPT ENOTSOCK EPERM";
pub(super) const GETSOCKOPT: &str = "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK";
pub(super) const LISTEN: &str = "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP";

/// There are two while the server starts; the third is the filter against new clients.
pub(super) const NO_FILTER: &str = "setsockopt:error=ENOMEM:when=3";

/// All calls above, as strace selects them. The machine decides which of the two waits it is.
pub(super) const CALLS: [&str; 11] = [
    "/^epoll_p?wait$",
    "accept4",
    "sendto",
    "recvfrom",
    "epoll_ctl",
    "shutdown",
    "close",
    "write",
    "setsockopt",
    "listen",
    "getsockopt",
];
pub(super) const WAIT: &str = CALLS[0];

/// The single client's greeting, its message and a FIN, as strace shows them.
pub(super) const GREETING: &[&str] = &[r#""hello\n""#];
pub(super) const MESSAGE: &[&str] = &[r#""alone""#];
pub(super) const FIN: &[&str] = &[r#", "","#];
/// What a signal handler sends to wake the poll.
pub(super) const SIGNAL: &[&str] = &[r#""X""#];

impl Counted {
    pub(super) fn term(self, errno: &str) -> &'static str {
        match self {
            Self::As(term) => term,
            Self::ByErrno if ["ECONNRESET", "ENOTCONN", "EPIPE"].contains(&errno) => "reset",
            Self::ByErrno => "failed",
        }
    }
}
