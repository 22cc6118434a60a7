/* The protocol in C over raw epoll, as a careful programmer writes it: what the others are measured
 * against. One argument says how a connection ends:
 *   at-once  close() right behind the echo, as the course's server does
 *   more     the echo sent with MSG_MORE, shutdown() and close(): echo and FIN in one segment
 *   linger   shutdown(), then discard until the client's FIN, for at most 2 s, then close() */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 1000, SCRATCH = 65536, BATCH = 256, BACKLOG = 4096, LINGER_MS = 2000 };
enum { NOBODY = -1 };

struct unsent {
    size_t length, sent;
    char bytes[];
};

/* What is known of a connection; its place in the table is its descriptor. */
struct connection {
    struct unsent *unsent; /* what the kernel would not take yet */
    int previous, next;    /* those that linger, the first is due first */
    uint32_t due;          /* in ms */
    bool lingers;
};

static enum { AT_ONCE, MORE, LINGER } ending;
static int poll, listener;
static struct connection *connections;
static int first = NOBODY, last = NOBODY;
static uint32_t now;
static char scratch[SCRATCH];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Wraps after 49 days, so moments are compared by their difference. */
static uint32_t milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint32_t)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static void end(int fd) {
    struct connection *c = &connections[fd];
    if (c->lingers) {
        *(c->previous == NOBODY ? &first : &connections[c->previous].next) = c->next;
        *(c->next == NOBODY ? &last : &connections[c->next].previous) = c->previous;
    }
    free(c->unsent);
    close(fd); /* takes it out of the epoll set, too */
}

static void start_to_linger(int fd) {
    struct connection *c = &connections[fd];
    c->lingers = true;
    c->due = now + LINGER_MS;
    c->previous = last;
    c->next = NOBODY;
    *(last == NOBODY ? &first : &connections[last].next) = fd;
    last = fd;
}

static bool would_block(void) { return errno == EAGAIN || errno == EINTR; }

/* Discards what there is. `fin`: the event spoke of the client's FIN, and no other will. */
static void discard(int fd, bool fin) {
    for (;;) {
        ssize_t n = read(fd, scratch, SCRATCH);
        if (n < 0 && would_block())
            return;
        if (n <= 0) {
            end(fd);
            return;
        }
        if (n < SCRATCH && !fin) /* what comes now is another edge */
            return;
    }
}

/* The echo is out. */
static void handle_echoed(int fd, bool fin) {
    if (ending == AT_ONCE || shutdown(fd, SHUT_WR) < 0 || ending == MORE) {
        end(fd);
        return;
    }
    start_to_linger(fd);
    if (fin)
        discard(fd, fin);
}

static void keep(int fd, size_t length) {
    struct unsent *unsent = malloc(sizeof *unsent + length);
    if (!unsent) {
        end(fd);
        return;
    }
    unsent->length = length;
    unsent->sent = 0;
    memcpy(unsent->bytes, scratch, length);
    connections[fd].unsent = unsent;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    if (epoll_ctl(poll, EPOLL_CTL_MOD, fd, &event) < 0)
        end(fd);
}

static void send_unsent(int fd, bool fin) {
    struct unsent *unsent = connections[fd].unsent;
    ssize_t n = send(fd, unsent->bytes + unsent->sent, unsent->length - unsent->sent, MSG_NOSIGNAL);
    if (n < 0) {
        if (!would_block())
            end(fd);
        return;
    }
    unsent->sent += (size_t)n;
    if (unsent->sent < unsent->length)
        return;
    free(unsent);
    connections[fd].unsent = NULL;
    handle_echoed(fd, fin);
}

static void echo(int fd, bool fin) {
    ssize_t n = read(fd, scratch, MESSAGE);
    if (n < 0 && would_block())
        return;
    if (n <= 0) {
        end(fd);
        return;
    }
    ssize_t sent = send(fd, scratch, (size_t)n, MSG_NOSIGNAL | (ending == MORE ? MSG_MORE : 0));
    if (sent < 0 && !would_block()) {
        end(fd);
        return;
    }
    if (sent < n) {
        size_t done = sent < 0 ? 0 : (size_t)sent;
        memmove(scratch, scratch + done, (size_t)n - done);
        keep(fd, (size_t)n - done);
        return;
    }
    handle_echoed(fd, fin);
}

static void drive(int fd, uint32_t events) {
    struct connection *c = &connections[fd];
    bool fin = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    if (c->lingers)
        discard(fd, fin);
    else if (c->unsent)
        send_unsent(fd, fin);
    else
        echo(fd, fin);
}

/* The greeting goes out before the registration, which tells what is readable by then. */
static void accept_all(void) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            return;
        }
        connections[fd] = (struct connection){0};
        /* Six bytes fit into an empty send buffer, or this client is not to be helped. */
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (send(fd, "hello\n", 6, MSG_NOSIGNAL) != 6 || epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
            end(fd);
    }
}

static int time_left(void) {
    if (first == NOBODY)
        return -1;
    int32_t left = (int32_t)(connections[first].due - now);
    return left < 0 ? 0 : left;
}

static void expire(void) {
    while (first != NOBODY && (int32_t)(connections[first].due - now) <= 0)
        end(first);
}

static void run(void) {
    struct epoll_event events[BATCH];
    now = milliseconds();
    for (;;) {
        int n = epoll_wait(poll, events, BATCH, time_left());
        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        now = milliseconds();
        bool accepts = false;
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accepts = true;
            else
                drive(events[i].data.fd, events[i].events);
        }
        expire();
        if (accepts)
            accept_all();
    }
}

static void start_to_listen(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        listen(listener, BACKLOG) < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) < 0)
        fail("epoll");
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *how = argc == 2 ? argv[1] : "";
    if (!strcmp(how, "at-once"))
        ending = AT_ONCE;
    else if (!strcmp(how, "more"))
        ending = MORE;
    else if (!strcmp(how, "linger"))
        ending = LINGER;
    else
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it ends with the bench, however that ends */
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("getrlimit");
    connections = calloc(limit.rlim_cur, sizeof *connections);
    if (!connections)
        fail("calloc");
    start_to_listen();
    run();
}
