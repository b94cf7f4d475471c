/* The server behind every proxy of the benchmark: echoes WebSocket frames, answers plain HTTP with a fixed body.
 *
 * One thread, one epoll, one buffer. Frames are unmasked in place and sent on as they come, so a frame of any length
 * costs no memory; only what a slow reader has not taken is kept, and nothing more is read from its sender until it is
 * gone. It checks what a benchmark must not get wrong (masked, known opcodes) and drops the connection otherwise.
 *
 *   echo PORT      listens on 127.0.0.1:PORT (0: any) and prints the port
 */
#include "ws.h"

#define HEAD_BYTES 16384
#define EVENTS 256
#define MOST_LISTENERS 250

typedef struct {
    int fd;
    int upgraded, closing, writing;
    uint8_t header[14]; /* a frame header split across reads */
    size_t header_have;
    uint64_t left; /* of the current payload */
    size_t phase;  /* into the mask */
    uint8_t mask[4];
    char *head; /* an unfinished request head */
    size_t head_have;
    uint8_t *spill; /* answered but not taken yet */
    size_t spill_len, spill_at;
} Conn;

static int epoll_fd;
/* Reads land HEADROOM behind the start, so an echo whose header began in the last read still fits in front of them. */
#define HEADROOM 16
static uint8_t buffer[HEADROOM + READ_BYTES];
static char answers[64 * 1024];

static void watch(Conn *c, int how, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, how, c->fd, &e)) die("epoll_ctl: %s", strerror(errno));
}

static void drop(Conn *c) {
    close(c->fd);
    free(c->head);
    free(c->spill);
    free(c);
}

/* Sends, keeping what the kernel does not take. Returns 0 when the connection is broken. */
static int answer(Conn *c, const uint8_t *data, size_t len) {
    ssize_t sent = send(c->fd, data, len, 0);
    if (sent < 0) {
        if (errno != EAGAIN) return 0;
        sent = 0;
    }
    if ((size_t)sent == len) return 1;
    c->spill_len = len - (size_t)sent;
    c->spill_at = 0;
    c->spill = malloc(c->spill_len);
    if (!c->spill) die("out of memory");
    memcpy(c->spill, data + sent, c->spill_len);
    c->writing = 1;
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    return 1;
}

/* The answer to one complete head; returns its length, 0 for a head that is none. */
static size_t answer_head(Conn *c, char *head, char *out) {
    const char *key = field(head, "\r\nSec-WebSocket-Key:");
    if (strncmp(head, "GET ", 4)) return 0;
    if (!key)
        return (size_t)sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", sizeof BODY - 1, BODY);
    char accept[29];
    accept_key(key, accept);
    c->upgraded = 1;
    return (size_t)sprintf(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
}

/* Heads, pipelined ones too. Returns the bytes used, or -1. The answers go to `answers`, their length to *out. */
static ssize_t take_heads(Conn *c, char *data, size_t len, size_t *out) {
    size_t used = 0;
    while (used < len && !c->upgraded) {
        char *end = memmem(data + used, len - used, "\r\n\r\n", 4);
        if (!end) break;
        char kept = end[4]; /* there is always room for one byte more */
        end[4] = 0;
        size_t made = *out + 512 < sizeof answers ? answer_head(c, data + used, answers + *out) : 0;
        end[4] = kept;
        if (!made) return -1;
        *out += made;
        used = (size_t)(end + 4 - data);
    }
    return (ssize_t)used;
}

/* Turns masked frames into their echo, which is never longer than the input. Returns its length, or -1. */
static ssize_t echo_frames(Conn *c, const uint8_t *in, size_t len, uint8_t *out) {
    const uint8_t *end = in + len;
    uint8_t *at = out;
    while (in < end) {
        if (c->left) {
            size_t some = (uint64_t)(end - in) < c->left ? (size_t)(end - in) : (size_t)c->left;
            apply_mask(at, in, some, c->mask, c->phase);
            at += some, in += some, c->left -= some, c->phase += some;
            continue;
        }
        if (c->closing) break; /* nothing counts behind a Close */
        c->header[c->header_have++] = *in++;
        if (c->header_have < 2 || c->header_have < header_bytes(c->header)) continue;
        uint8_t first = c->header[0], opcode = first & 15;
        if (!(c->header[1] & 128) || (opcode > OP_BINARY && (opcode < OP_CLOSE || opcode > OP_PONG))) return -1;
        c->left = payload_bytes(c->header);
        memcpy(c->mask, c->header + c->header_have - 4, 4);
        c->phase = c->header_have = 0;
        c->closing = opcode == OP_CLOSE;
        at += put_header(at, opcode == OP_PING ? (uint8_t)((first & 0xF0) | OP_PONG) : first, c->left);
    }
    return at - out;
}

/* Returns 0 when the connection is over. */
static int take_frames(Conn *c, const uint8_t *in, size_t len) {
    ssize_t made = echo_frames(c, in, len, buffer);
    if (made < 0 || (made && !answer(c, buffer, (size_t)made))) return 0;
    /* The server closes first (RFC 6455 section 7.1.1), as soon as its Close is out. */
    return !(c->closing && !c->left && !c->writing);
}

/* A head that came in parts is put together first. Returns 0 when the connection is over. */
static int take_head(Conn *c, uint8_t *data, size_t len) {
    size_t made = 0;
    if (!c->head && !(c->head = malloc(HEAD_BYTES + 1))) die("out of memory");
    if (c->head_have + len > HEAD_BYTES) return 0;
    memcpy(c->head + c->head_have, data, len);
    c->head_have += len;
    ssize_t used = take_heads(c, c->head, c->head_have, &made);
    if (used < 0 || (made && !answer(c, (uint8_t *)answers, made))) return 0;
    c->head_have -= (size_t)used;
    memmove(c->head, c->head + used, c->head_have);
    size_t rest = c->head_have;
    if (rest && !c->upgraded) return 1;
    memcpy(buffer + HEADROOM, c->head, rest);
    free(c->head);
    c->head = NULL;
    c->head_have = 0;
    return !rest || (!c->writing && take_frames(c, buffer + HEADROOM, rest));
}

static int readable(Conn *c) {
    ssize_t got = recv(c->fd, buffer + HEADROOM, READ_BYTES, 0);
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return 0;
    return c->upgraded ? take_frames(c, buffer + HEADROOM, (size_t)got) : take_head(c, buffer + HEADROOM, (size_t)got);
}

static int writable(Conn *c) {
    ssize_t sent = send(c->fd, c->spill + c->spill_at, c->spill_len - c->spill_at, 0);
    if (sent < 0) return errno == EAGAIN;
    c->spill_at += (size_t)sent;
    if (c->spill_at < c->spill_len) return 1;
    free(c->spill);
    c->spill = NULL;
    c->writing = 0;
    if (c->closing && !c->left) return 0;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    return 1;
}

static void accept_some(int listener) {
    for (int i = 0; i < EVENTS; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        Conn *c = calloc(1, sizeof *c);
        if (!c) die("out of memory");
        c->fd = fd;
        no_delay(fd);
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* On 127.0.0.1, 127.0.0.2 ...: as many upstreams as a case wants. */
static int open_listener(int number, int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(port);
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)number);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 65535)) die("port %d: %s", port, strerror(errno));
    return fd;
}

int main(int argc, char **argv) {
    prepare_process();
    int listeners[MOST_LISTENERS], addresses = argc > 2 ? atoi(argv[2]) : 1, port = argc > 1 ? atoi(argv[1]) : 0;
    if (!port || addresses < 1 || addresses > MOST_LISTENERS) die("usage: echo PORT [ADDRESSES]");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, ready[EVENTS];
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) die("epoll: %s", strerror(errno));
    for (int i = 0; i < addresses; i++) {
        listeners[i] = open_listener(i, port);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listeners[i], &e)) die("epoll: %s", strerror(errno));
    }
    printf("%d\n", port);
    fflush(stdout);
    for (;;) { /* ended by SIGTERM, or by the death of the benchmark */
        int n = epoll_wait(epoll_fd, ready, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            Conn *c = ready[i].data.ptr;
            if (!c) for (int l = 0; l < addresses; l++) accept_some(listeners[l]);
            else if (!(c->writing ? writable(c) : readable(c))) drop(c);
        }
    }
}
