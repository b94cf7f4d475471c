/* What the load client and the echo server share: clocks, sockets, the accept key, masking.
 *
 * Both are one thread around one epoll and speak IPv4 loopback only. Everything here is static and small on purpose:
 * the two programs are compiled on the spot, each from one file and this one.
 */
#ifndef BENCH_WS_H
#define BENCH_WS_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OP_CONT = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

#define READ_BYTES (256 * 1024) /* one read; enough for any frame but the 1 MiB one */

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

/* What a plain GET is answered with. */
static const char BODY[] =
    "The quick brown fox jumps over the lazy dog, and the proxy in between "
    "is what is measured here, 128 bytes at a time, never more.";

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static inline void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* The usual soft limit is 1,024 descriptors; and a benchmark that was killed leaves no orphan. */
static inline void prepare_process(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static inline uint32_t rol(uint32_t x, int n) { return (x << n) | (x >> (32 - n)); }

/* SHA-1 (RFC 3174) of at most 119 bytes: key and GUID are 60. */
static inline void sha1_short(const uint8_t *in, size_t len, uint8_t out[20]) {
    uint8_t blocks[128] = {0};
    size_t total = len + 9 <= 64 ? 64 : 128;
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    memcpy(blocks, in, len);
    blocks[len] = 0x80;
    for (size_t i = 0; i < 8; i++) blocks[total - 1 - i] = (uint8_t)(((uint64_t)len * 8) >> (8 * i));
    for (size_t at = 0; at < total; at += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 16; i++) {
            const uint8_t *p = blocks + at + 4 * i;
            w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) f = (b & c) | (~b & d), k = 0x5A827999;
            else if (i < 40) f = b ^ c ^ d, k = 0x6ED9EBA1;
            else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
            else f = b ^ c ^ d, k = 0xCA62C1D6;
            uint32_t t = rol(a, 5) + f + e + k + w[i];
            e = d, d = c, c = rol(b, 30), b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static inline void base64(const uint8_t *in, size_t len, char *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0) | (i + 2 < len ? in[i + 2] : 0);
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < len ? digits[v & 63] : '=';
    }
    *out = 0;
}

/* RFC 6455 section 4.2.2: `key` is the 24 characters of Sec-WebSocket-Key, `out` holds 29. */
static inline void accept_key(const char *key, char *out) {
    uint8_t text[60], digest[20];
    memcpy(text, key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    sha1_short(text, 60, digest);
    base64(digest, 20, out);
}

/* Copies to the same or a lower address, XORed with the mask from `phase` bytes into the payload on, eight at a time. */
static inline void apply_mask(uint8_t *out, const uint8_t *in, size_t len, const uint8_t mask[4], size_t phase) {
    uint8_t turned[8];
    uint64_t word, m;
    for (size_t i = 0; i < 8; i++) turned[i] = mask[(phase + i) & 3];
    memcpy(&m, turned, 8);
    for (; len >= 8; out += 8, in += 8, len -= 8) {
        memcpy(&word, in, 8);
        word ^= m;
        memcpy(out, &word, 8);
    }
    for (size_t i = 0; i < len; i++) out[i] = in[i] ^ turned[i];
}

/* A frame header without mask; returns its length. */
static inline size_t put_header(uint8_t *p, uint8_t first, uint64_t len) {
    p[0] = first;
    if (len < 126) return p[1] = (uint8_t)len, 2;
    int extended = len < 65536 ? 2 : 8;
    p[1] = extended == 2 ? 126 : 127;
    for (int i = 0; i < extended; i++) p[2 + i] = (uint8_t)(len >> (8 * (extended - 1 - i)));
    return 2 + (size_t)extended;
}

/* Bytes a header needs in all, told from its first two. */
static inline size_t header_bytes(const uint8_t *p) {
    size_t len = p[1] & 127;
    return 2u + (len == 126 ? 2u : len == 127 ? 8u : 0u) + (p[1] & 128 ? 4u : 0u);
}

static inline uint64_t payload_bytes(const uint8_t *p) {
    uint64_t len = p[1] & 127;
    int extended = len == 126 ? 2 : len == 127 ? 8 : 0;
    if (extended) len = 0;
    for (int i = 0; i < extended; i++) len = len << 8 | p[2 + i];
    return len;
}

/* The value of a field in a complete head (which ends with a 0 byte), or NULL. `name` as ": " wants it: "\r\nName:". */
static inline const char *field(const char *head, const char *name) {
    const char *at = strcasestr(head, name);
    if (!at) return NULL;
    at += strlen(name);
    while (*at == ' ') at++;
    return at;
}

#endif
