/* RFC 862 in C over raw epoll, as a careful programmer writes it: what our reactor is measured
 * against. Every message costs one recv and one send, through one buffer for all connections. A
 * connection is registered once, edge-triggered: epoll looks again, in the next wait, at each
 * level-triggered one that it has reported. Memory is taken only for what the kernel would not send
 * at once. There is no deadline, no counter but the bench's, and no log.
 *
 * The bench says over the standard input, a socket, how many bytes are to be echoed next. The answer
 * is the CPU time that this took, in ns. In between nothing is polled. */
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

enum { SCRATCH = 65536, BATCH = 256, BACKLOG = 4096 };

struct unsent {
    size_t length, sent;
    char bytes[];
};

static int poll, listener;
static struct unsent **unsent; /* by descriptor; NULL where nothing is owed */
static char scratch[SCRATCH];
static uint64_t echoed;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static bool would_block(void) { return errno == EAGAIN || errno == EINTR; }

static void end(int fd) {
    free(unsent[fd]);
    unsent[fd] = NULL;
    close(fd); /* takes it out of the epoll set, too */
}

static void keep(int fd, size_t sent, size_t length) {
    struct unsent *rest = malloc(sizeof *rest + length - sent);
    if (!rest) {
        end(fd);
        return;
    }
    rest->length = length - sent;
    rest->sent = 0;
    memcpy(rest->bytes, scratch + sent, rest->length);
    unsent[fd] = rest; /* the short send asked the kernel for an edge when there is room */
}

/* `more`: there may be more behind a recv that comes back short, such as the client's FIN. */
static void echo(int fd, bool more) {
    for (;;) {
        ssize_t n = recv(fd, scratch, SCRATCH, 0);
        if (n < 0 && would_block())
            return;
        if (n <= 0) {
            end(fd);
            return;
        }
        ssize_t sent = send(fd, scratch, (size_t)n, MSG_NOSIGNAL);
        if (sent < 0 && !would_block()) {
            end(fd);
            return;
        }
        echoed += sent < 0 ? 0 : (uint64_t)sent;
        if (sent < n) {
            keep(fd, sent < 0 ? 0 : (size_t)sent, (size_t)n);
            return;
        }
        if (n < SCRATCH && !more) /* what comes now is another edge */
            return;
    }
}

static void send_unsent(int fd) {
    struct unsent *rest = unsent[fd];
    ssize_t n = send(fd, rest->bytes + rest->sent, rest->length - rest->sent, MSG_NOSIGNAL);
    if (n < 0) {
        if (!would_block())
            end(fd);
        return;
    }
    echoed += (uint64_t)n;
    rest->sent += (size_t)n;
    if (rest->sent < rest->length)
        return;
    free(rest);
    unsent[fd] = NULL;
    echo(fd, true); /* what came meanwhile was reported then */
}

static void accept_all(void) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            return;
        }
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
            end(fd);
    }
}

static void turn(void) {
    struct epoll_event events[BATCH];
    int n = epoll_wait(poll, events, BATCH, -1);
    if (n < 0 && errno != EINTR)
        fail("epoll_wait");
    bool accepts = false;
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        if (fd == listener)
            accepts = true;
        else if (unsent[fd])
            send_unsent(fd);
        else
            echo(fd, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    }
    if (accepts)
        accept_all();
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

static uint64_t cpu_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it ends with the bench, however that ends */
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("getrlimit");
    unsent = calloc(limit.rlim_cur, sizeof *unsent);
    if (!unsent)
        fail("calloc");
    start_to_listen();
    uint64_t order;
    while (read(STDIN_FILENO, &order, sizeof order) == sizeof order) {
        uint64_t start = cpu_time(), until = echoed + order;
        while (echoed < until)
            turn();
        uint64_t spent = cpu_time() - start;
        if (write(STDIN_FILENO, &spent, sizeof spent) != sizeof spent)
            fail("write");
    }
}
