/* The load side of the benchmark: one thread, one epoll, any number of connections to 127.0.0.1:port.
 *
 *   load MODE port=P n=N [size=B] [seconds=S] [warm=S] [at_once=K] [interval=S] [limit=S] [tls=AUTHORITY]
 *
 *   echo       closed loop: every tunnel has one message on its way, the next goes when its echo is complete
 *   sparse     open loop: every tunnel sends a message per interval, spread evenly, whether or not echoes come
 *   handshake  N handshakes, K on their way at a time; the tunnels stay open to the end
 *   http       closed loop of plain GET requests on kept-alive connections
 *
 * With tls= connections are TLS, as tls.h says; a handshake is then both, and AUTHORITY a file with who has signed the
 * certificate.
 *
 * It prints a line when all is open and warm, waits for a line, measures, prints the figures, waits for a line (or the
 * end of input), closes every tunnel politely and says how many closed so. So the caller can read clocks exactly
 * around the measured window, which lasts until the last echo is in: all that was started is counted, and nothing else.
 *
 * Every echo is compared byte for byte; its first eight bytes are the tunnel's number and the message's. A difference
 * ends the program. Payloads are masked with one random mask per run; only those eight bytes are masked anew.
 */
#include "ws.h"
#include "tls.h"
#include <sys/random.h>

#define EVENTS 256
#define ANSWER_BYTES 4096
#define GRACE_NS 10000000000u /* for what is on its way when the window ends */

enum State { UNUSED, CONNECTING, SHAKING, HEAD, OPEN, DEAD };

typedef struct {
    int fd;
    enum State state;
    int writing, told; /* waits for EPOLLOUT; its Close came back */
    int drained;       /* nothing more has come than was read */
    Session *session;  /* NULL in the clear */
    uint32_t sent, received, base; /* messages; `base` is the first of the measured window */
    size_t send_at, receive_at;    /* inside the current message */
    uint64_t since, phase;         /* when the message or the handshake began; when the first one is due (sparse) */
    char *answer;                  /* a head, or a whole plain answer */
    size_t answer_have;
} Conn;

static struct {
    int port, n, at_once;
    size_t size;
    double seconds, warm, interval, limit;
    const char *tls;
} opt = {.n = 1, .size = 64, .seconds = 1, .warm = 0.2, .at_once = 128, .interval = 1, .limit = 30};

static enum { ECHO, SPARSE, HANDSHAKE, HTTP } mode;
static int epoll_fd, issuing, pending, opened, late, closing;
static int closed_early, refused, bad_answers, timeouts; /* failures, each once per connection */
static Conn *conns;
static uint8_t buffer[READ_BYTES], *plain, *masked, header[14], echo_header[10], mask[4];
static size_t header_len, echo_header_len;
static uint64_t messages, histogram[64 * 64], slowest, window_start;
static const char REQUEST[] = "GET /plain HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

static uint32_t number(const Conn *c) { return (uint32_t)(c - conns); }

/* 64 buckets per power of two: within 1.6 %. */
static void record(uint64_t ns) {
    size_t high = ns < 64 ? 0 : (size_t)(57 - __builtin_clzll(ns | 1)) + 1;
    histogram[ns < 64 ? ns : high * 64 + ((ns >> (high - 1)) & 63)]++;
    if (ns > slowest) slowest = ns;
    messages++;
}

static double quantile_us(double q) {
    uint64_t wanted = (uint64_t)((double)messages * q), seen = 0;
    for (size_t i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        seen += histogram[i];
        if (seen > wanted) return (i < 64 ? (double)i : (double)((64 + i % 64) << (i / 64 - 1)) * 1.008) / 1000;
    }
    return (double)slowest / 1000;
}

static void watch(Conn *c, int how, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, how, c->fd, &e)) die("epoll_ctl: %s", strerror(errno));
}

static void fail(Conn *c, int *counter) {
    if (c->state == CONNECTING || c->state == SHAKING || c->state == HEAD) pending--;
    else pending -= (int)(c->sent - c->received);
    (*counter)++;
    if (c->session) tls_end(c->session);
    c->session = NULL;
    close(c->fd);
    free(c->answer);
    c->answer = NULL;
    c->state = DEAD;
}

/* ---- octets in the clear and by TLS */

static ssize_t put(Conn *c, const void *data, size_t len) { return c->session ? tls_write(c->session, data, len) : send(c->fd, data, len, 0); }

static ssize_t take(Conn *c, void *room, size_t len) {
    if (!c->session) return recv(c->fd, room, len, 0);
    ssize_t got = tls_read(c->session, room, len);
    c->drained = got <= 0;
    return got;
}

/* As writev of two parts; of TLS a record at a time, as long as the kernel takes them. */
static ssize_t put_parts(Conn *c, const struct iovec parts[2]) {
    if (!c->session) return writev(c->fd, parts, 2);
    static uint8_t record[RECORD_BYTES];
    size_t at = 0, whole = parts[0].iov_len + parts[1].iov_len;
    while (at < whole) {
        size_t len = whole - at < RECORD_BYTES ? whole - at : RECORD_BYTES, first = at < parts[0].iov_len ? parts[0].iov_len - at : 0;
        if (first > len) first = len;
        memcpy(record, (uint8_t *)parts[0].iov_base + at, first);
        memcpy(record + first, (uint8_t *)parts[1].iov_base + (at + first - parts[0].iov_len), len - first);
        ssize_t wrote = tls_write(c->session, record, len);
        if (wrote == 0) return errno = EPIPE, -1;
        if (wrote < 0) break;
        at += (size_t)wrote;
    }
    return at ? (ssize_t)at : -1;
}

/* ---- handshakes */

static void key_of(const Conn *c, char key[25]) {
    uint8_t raw[16] = "bench-key-";
    uint32_t id = number(c);
    memcpy(raw + 12, &id, 4);
    base64(raw, 16, key);
}

static void send_head(Conn *c) {
    char key[25], head[512];
    key_of(c, key);
    int len = snprintf(head, sizeof head,
                       "GET /websocket HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n", key);
    if (put(c, head, (size_t)len) != len) return fail(c, &refused);
    c->state = HEAD;
    c->answer = calloc(1, ANSWER_BYTES + 1);
}

static void dial(Conn *c) {
    struct sockaddr_in address = loopback(opt.port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    no_delay(c->fd);
    c->since = now_ns();
    c->state = CONNECTING;
    pending++;
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) return fail(c, &refused);
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void ready(Conn *c) {
    if (mode != HTTP) return send_head(c);
    c->answer = calloc(1, ANSWER_BYTES + 1);
    c->state = OPEN;
    pending--;
    opened++;
}

static void shake(Conn *c) {
    ssize_t done = tls_shake(c->session);
    if (done == 0) return fail(c, &refused);
    int writing = done < 0 && tls_wants_write(c->session);
    if (writing != c->writing) watch(c, EPOLL_CTL_MOD, writing ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->writing = writing;
    if (done > 0) ready(c);
}

static void connected(Conn *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) return fail(c, &refused);
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    if (!opt.tls) return ready(c);
    c->session = tls_begin(c->fd);
    c->state = SHAKING;
    shake(c);
}

static void take_head(Conn *c) {
    ssize_t got = take(c, c->answer + c->answer_have, ANSWER_BYTES - c->answer_have);
    if (got <= 0) return got < 0 && errno == EAGAIN ? (void)0 : fail(c, &closed_early);
    c->answer_have += (size_t)got;
    char *end = memmem(c->answer, c->answer_have, "\r\n\r\n", 4);
    if (!end) return c->answer_have == ANSWER_BYTES ? fail(c, &bad_answers) : (void)0;
    char key[25], expected[29];
    key_of(c, key);
    accept_key(key, expected);
    const char *accepted = field(c->answer, "\r\nSec-WebSocket-Accept:");
    int right = !strncmp(c->answer, "HTTP/1.1 101 ", 13) && accepted && !strncmp(accepted, expected, 28);
    if (!right || end + 4 != c->answer + c->answer_have) return fail(c, &bad_answers);
    free(c->answer);
    c->answer = NULL;
    c->state = OPEN;
    pending--;
    opened++;
    if (mode == HANDSHAKE) record(now_ns() - c->since);
}

/* ---- messages */

/* The first bytes of a message: a header, then tunnel and message number. Returns their length. */
static size_t lead(uint8_t *out, const uint8_t *head, size_t head_len, const Conn *c, uint32_t message) {
    uint32_t id[2] = {number(c), message};
    memcpy(mempcpy(out, head, head_len), id, 8);
    return head_len + 8;
}

static void write_message(Conn *c) {
    uint8_t first[24];
    size_t len = lead(first, header, header_len, c, c->sent - 1), skip = c->send_at;
    apply_mask(first + header_len, first + header_len, 8, mask, 0);
    struct iovec parts[2] = {{first, len}, {masked + 8, opt.size - 8}};
    size_t own = skip < len ? skip : len;
    parts[0].iov_base = first + own, parts[0].iov_len -= own;
    parts[1].iov_base = masked + 8 + (skip - own), parts[1].iov_len -= skip - own;
    ssize_t wrote = put_parts(c, parts);
    if (wrote < 0) {
        if (errno != EAGAIN) return fail(c, &closed_early);
        wrote = 0;
    }
    c->send_at += (size_t)wrote;
    int rest = c->send_at < header_len + opt.size;
    if (rest != c->writing) watch(c, EPOLL_CTL_MOD, rest ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->writing = rest;
}

static void send_next(Conn *c) {
    if (c->writing) die("tunnel %u: a message is due before the last one was written", number(c));
    c->since = now_ns();
    c->sent++;
    pending++;
    c->send_at = 0;
    if (mode != HTTP) return write_message(c);
    if (put(c, REQUEST, sizeof REQUEST - 1) != sizeof REQUEST - 1) fail(c, &closed_early);
}

static void complete(Conn *c) {
    uint64_t began = c->since;
    if (mode == SPARSE && window_start) /* from when it was due: a late sender hides nothing */
        began = window_start + c->phase + (uint64_t)((c->received - c->base) * opt.interval * 1e9);
    record(now_ns() - began);
    c->received++;
    c->receive_at = 0;
    pending--;
    if (issuing) send_next(c);
}

static void take_echo(Conn *c) {
    ssize_t got = take(c, buffer, sizeof buffer);
    if (got < 0 && errno == EAGAIN) return;
    if (closing && got > 0) {
        c->told = buffer[0] == (0x80 | OP_CLOSE);
        return;
    }
    if (got <= 0) return fail(c, closing ? &closing : &closed_early);
    for (size_t at = 0; at < (size_t)got;) {
        uint8_t first[24];
        size_t len = lead(first, echo_header, echo_header_len, c, c->received), left = (size_t)got - at, some;
        const uint8_t *expected;
        if (c->received == c->sent) die("tunnel %u: bytes nobody sent", number(c));
        if (c->receive_at < len) expected = first + c->receive_at, some = len - c->receive_at;
        else expected = plain + 8 + (c->receive_at - len), some = echo_header_len + opt.size - c->receive_at;
        if (some > left) some = left;
        if (memcmp(buffer + at, expected, some))
            die("tunnel %u, message %u: wrong within %zu bytes at %zu", number(c), c->received, some, c->receive_at);
        at += some;
        c->receive_at += some;
        if (c->receive_at == echo_header_len + opt.size) complete(c);
        if (c->state != OPEN) return;
    }
}

static void take_answer(Conn *c) {
    ssize_t got = take(c, c->answer + c->answer_have, ANSWER_BYTES - c->answer_have);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return fail(c, closing ? &closing : &closed_early);
    c->answer_have += (size_t)got;
    c->answer[c->answer_have] = 0;
    char *end = memmem(c->answer, c->answer_have, "\r\n\r\n", 4);
    if (!end) return c->answer_have == ANSWER_BYTES ? fail(c, &bad_answers) : (void)0;
    size_t whole = (size_t)(end + 4 - c->answer) + sizeof BODY - 1;
    if (c->answer_have < whole) return;
    const char *length = field(c->answer, "\r\nContent-Length:");
    if (c->answer_have > whole || strncmp(c->answer, "HTTP/1.1 200 ", 13) || !length || atoi(length) != sizeof BODY - 1 ||
        memcmp(end + 4, BODY, sizeof BODY - 1))
        die("connection %u: not the answer of the server: %.300s", number(c), c->answer);
    c->answer_have = 0;
    complete(c);
}

/* ---- the loop */

static void readable(Conn *c) {
    if (c->state == HEAD) take_head(c);
    else if (mode == HTTP) take_answer(c);
    else take_echo(c);
}

static void turn(uint64_t until) {
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns(), wait = until > now ? until - now : 0;
    struct timespec timeout = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
    int n = epoll_pwait2(epoll_fd, events, EVENTS, &timeout, NULL);
    if (n < 0) die("epoll_pwait2: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        Conn *c = events[i].data.ptr;
        if (c->state == CONNECTING) connected(c);
        else if (c->state == SHAKING) shake(c);
        else {
            if (c->state == OPEN && c->writing && (events[i].events & EPOLLOUT)) write_message(c);
            if (!(events[i].events & ~(uint32_t)EPOLLOUT)) continue;
            do { /* of TLS several records may have been read at once, of which epoll knows no more */
                c->drained = !c->session;
                if (c->state == HEAD || c->state == OPEN) readable(c);
            } while (c->session && !c->drained && tls_has_more(c->session));
        }
    }
}

static void open_all(void) {
    uint64_t until = now_ns() + (uint64_t)(opt.limit * 1e9);
    for (int next = 0; (next < opt.n || pending) && now_ns() < until;) {
        while (next < opt.n && pending < opt.at_once) dial(&conns[next++]);
        turn(until);
    }
    for (int i = 0; i < opt.n; i++)
        if (conns[i].state == UNUSED) timeouts++, conns[i].state = DEAD;
        else if (conns[i].state != OPEN && conns[i].state != DEAD) fail(&conns[i], &timeouts);
}

static void wait_for_rest(void) {
    uint64_t until = now_ns() + GRACE_NS;
    issuing = 0;
    while (pending && now_ns() < until) turn(until);
    timeouts += pending;
}

static void closed_loop(double seconds) {
    uint64_t until = now_ns() + (uint64_t)(seconds * 1e9);
    issuing = 1;
    for (int i = 0; i < opt.n; i++)
        if (conns[i].state == OPEN) send_next(&conns[i]);
    while (now_ns() < until && pending) turn(until);
    wait_for_rest();
}

static void open_loop(void) {
    uint64_t slot = (uint64_t)(opt.interval * 1e9 / opt.n), rounds = (uint64_t)(opt.seconds / opt.interval);
    unsigned seed = 1;
    for (int i = 0; i < opt.n; i++) {
        conns[i].base = conns[i].sent;
        conns[i].phase = slot * (uint64_t)i + slot * (uint64_t)rand_r(&seed) / RAND_MAX;
    }
    for (uint64_t round = 0; round < rounds; round++)
        for (int i = 0; i < opt.n; i++) {
            Conn *c = &conns[i];
            uint64_t due = window_start + c->phase + (uint64_t)((double)round * opt.interval * 1e9), now;
            while ((now = now_ns()) < due) turn(due);
            late += now > due + 1000000;
            if (c->state == OPEN) send_next(c);
        }
    wait_for_rest();
}

static int close_all(void) {
    static const uint8_t close_frame[] = {0x88, 0x82, 0, 0, 0, 0, 1000 >> 8, 1000 & 255};
    uint64_t until = now_ns() + GRACE_NS / 2;
    int polite = 0;
    closing = 1; /* from here on it counts the tunnels that ended, plus one */
    for (int i = 0; i < opt.n; i++)
        if (conns[i].state == OPEN && mode != HTTP) put(&conns[i], close_frame, sizeof close_frame);
    while (mode != HTTP && closing <= opened && now_ns() < until) turn(now_ns() + 20000000);
    for (int i = 0; i < opt.n; i++) polite += conns[i].told && conns[i].state == DEAD;
    return polite;
}

/* ---- the program */

static void prepare_frames(void) {
    header_len = put_header(header, 0x80 | OP_BINARY, opt.size);
    memcpy(echo_header, header, echo_header_len = header_len);
    if (getrandom(mask, 4, 0) != 4) die("no random mask");
    header[1] |= 0x80;
    memcpy(header + header_len, mask, 4);
    header_len += 4;
    plain = malloc(opt.size);
    masked = malloc(opt.size);
    unsigned seed = 2;
    for (size_t i = 0; i < opt.size; i++) plain[i] = (uint8_t)rand_r(&seed);
    apply_mask(masked, plain, opt.size, mask, 0);
}

static void read_options(int argc, char **argv) {
    static const char *const modes[] = {"echo", "sparse", "handshake", "http"};
    while (mode < 4 && strcmp(argv[1], modes[mode])) mode++;
    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) die("%s: expected name=value", argv[i]);
        *value++ = 0;
        if (!strcmp(argv[i], "port")) opt.port = atoi(value);
        else if (!strcmp(argv[i], "n")) opt.n = atoi(value);
        else if (!strcmp(argv[i], "size")) opt.size = (size_t)atol(value);
        else if (!strcmp(argv[i], "seconds")) opt.seconds = atof(value);
        else if (!strcmp(argv[i], "warm")) opt.warm = atof(value);
        else if (!strcmp(argv[i], "at_once")) opt.at_once = atoi(value);
        else if (!strcmp(argv[i], "interval")) opt.interval = atof(value);
        else if (!strcmp(argv[i], "limit")) opt.limit = atof(value);
        else if (!strcmp(argv[i], "tls")) opt.tls = value;
        else die("%s: no such option", argv[i]);
    }
    if (mode > 3 || !opt.port || opt.n < 1 || opt.size < 8) die("usage: load echo|sparse|handshake|http port=P n=N ...");
}

static int wait_for_line(void) { return fgets((char[16]){0}, 16, stdin) != NULL; }

static void print_counts(void) {
    printf("\"opened\": %d, \"refused\": %d, \"closed_early\": %d, \"bad_answers\": %d, \"timeouts\": %d", opened, refused,
           closed_early, bad_answers, timeouts);
}

static void measure(void) {
    memset(histogram, 0, sizeof histogram);
    messages = slowest = 0;
    window_start = now_ns();
    if (mode == HANDSHAKE) open_all();
    else if (mode == SPARSE) open_loop();
    else closed_loop(opt.seconds);
    double took = (double)(now_ns() - window_start) / 1e9;
    printf("{\"count\": %lu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f, \"late\": %d, ",
           messages, took, quantile_us(.5), quantile_us(.99), quantile_us(.999), (double)slowest / 1000, late);
    print_counts();
    printf("}\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 2) die("usage: load echo|sparse|handshake|http port=P n=N ...");
    prepare_process();
    read_options(argc, argv);
    prepare_frames();
    if (opt.tls) tls_prepare(opt.tls);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc((size_t)opt.n, sizeof *conns);
    if (mode != HANDSHAKE) {
        open_all();
        if (opt.warm > 0) closed_loop(opt.warm);
    }
    printf("{");
    print_counts();
    printf("}\n");
    fflush(stdout);
    if (wait_for_line()) {
        measure();
        wait_for_line();
    }
    printf("{\"closed\": %d}\n", close_all());
    return 0;
}
