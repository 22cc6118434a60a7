/* A client of the protocol in C over raw epoll, as a careful programmer writes it: what our load
 * client is measured against. It keeps so many exchanges under way until so many are done: connect,
 * receive the greeting, send the message, receive until the FIN, close. It checks as little as neper
 * does: the number of bytes. It has no deadline, no clock, no histogram, and sends the same bytes
 * always.
 *
 * Arguments: the port on 127.0.0.1, how many at once, how many in all. */
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
#include <unistd.h>

enum { GREETING = 6, MESSAGE = 1000, SCRATCH = 65536, BATCH = 256 };

/* What is known of a connection; its place in the table is its descriptor. */
struct connection {
    uint32_t received, sent;
};

static int poll;
static struct connection *connections;
static struct sockaddr_in server = {.sin_family = AF_INET};
static char message[MESSAGE], scratch[SCRATCH];
static unsigned long to_open, open_now;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static bool would_block(void) { return errno == EAGAIN || errno == EINTR; }

/* One event for reading says that it is connected, too, as the server speaks first. */
static void open_one(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        fail("connect");
    connections[fd] = (struct connection){0};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
    to_open--;
    open_now++;
}

static void end(int fd) {
    if (connections[fd].received != GREETING + MESSAGE) {
        fprintf(stderr, "an exchange of %u bytes\n", connections[fd].received);
        exit(1);
    }
    close(fd); /* takes it out of the epoll set, too */
    open_now--;
}

static void send_message(int fd) {
    struct connection *c = &connections[fd];
    ssize_t n = send(fd, message + c->sent, MESSAGE - c->sent, MSG_NOSIGNAL);
    if (n < 0 && !would_block())
        fail("send");
    c->sent += n < 0 ? 0 : (uint32_t)n;
}

/* `fin`: the event spoke of the server's FIN, and no other will. */
static void receive(int fd, bool fin) {
    struct connection *c = &connections[fd];
    for (;;) {
        ssize_t n = recv(fd, scratch, SCRATCH, 0);
        if (n < 0 && would_block())
            return;
        if (n < 0)
            fail("recv");
        if (n == 0) {
            end(fd);
            return;
        }
        c->received += (uint32_t)n;
        if (c->received >= GREETING && c->sent < MESSAGE)
            send_message(fd);
        if (n < SCRATCH && !fin) /* what comes now is another edge */
            return;
    }
}

static void drive(int fd, uint32_t events) {
    struct connection *c = &connections[fd];
    if (c->sent > 0 && c->sent < MESSAGE) /* a short send asked for an edge */
        send_message(fd);
    if (events & ~(uint32_t)EPOLLOUT)
        receive(fd, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

static void run(unsigned long at_once) {
    struct epoll_event events[BATCH];
    while (to_open + open_now > 0) {
        while (to_open > 0 && open_now < at_once)
            open_one();
        int n = epoll_wait(poll, events, BATCH, -1);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < n; i++)
            drive(events[i].data.fd, events[i].events);
    }
}

int main(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it ends with the bench, however that ends */
    if (argc != 4)
        return 2;
    server.sin_port = htons((uint16_t)atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to_open = strtoul(argv[3], NULL, 10);
    memset(message, 'x', sizeof message);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("getrlimit");
    connections = calloc(limit.rlim_cur, sizeof *connections);
    poll = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || poll < 0)
        fail("start");
    run(strtoul(argv[2], NULL, 10));
}
