/* TLS for the load client, where it is compiled with -DTLS and OpenSSL: TLS 1.3, one cipher and one group for all proxies.
 *
 * A connection is moved on by the same epoll as one in the clear: `seal` and `unseal` stand where send and recv do, and
 * say EAGAIN as they do. Every handshake is a full one: no session is kept. Without -DTLS there is nothing here but
 * stand-ins, so that everything else can be measured where OpenSSL's headers are missing.
 */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#define RECORD_BYTES 16384 /* of plaintext, at most */

#ifdef TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

typedef SSL Session;
static SSL_CTX *tls_context;

static void tls_prepare(const char *authority) {
    tls_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION);
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(tls_context, 1);
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_128_GCM_SHA256") != 1 || SSL_CTX_set1_groups_list(tls_context, "X25519") != 1 ||
        SSL_CTX_load_verify_locations(tls_context, authority, NULL) != 1)
        die("TLS cannot be prepared with %s", authority);
}

static Session *tls_begin(int fd) {
    SSL *session = SSL_new(tls_context);
    if (!session || SSL_set_fd(session, fd) != 1 || SSL_set1_host(session, "bench.example") != 1 ||
        SSL_set_tlsext_host_name(session, "bench.example") != 1)
        die("no TLS session");
    SSL_set_connect_state(session);
    return session;
}

/* What an SSL_ function came to: its result, 0 at the end or a failure, or -1 with EAGAIN. */
static ssize_t tls_outcome(const Session *session, int result) {
    if (result > 0) return result;
    int error = SSL_get_error(session, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    static int told;
    unsigned long reason = ERR_get_error();
    if (reason && !told++) fprintf(stderr, "TLS: %s\n", ERR_reason_error_string(reason));
    ERR_clear_error();
    return 0;
}

static ssize_t tls_shake(Session *session) { return tls_outcome(session, SSL_do_handshake(session)); }
static int tls_wants_write(const Session *session) { return SSL_want_write(session); }
static ssize_t tls_write(Session *session, const void *data, size_t len) { return tls_outcome(session, SSL_write(session, data, (int)len)); }
static ssize_t tls_read(Session *session, void *room, size_t len) { return tls_outcome(session, SSL_read(session, room, (int)len)); }
static int tls_has_more(const Session *session) { return SSL_has_pending(session); }
static void tls_end(Session *session) { SSL_free(session); }

#else

typedef void Session;
static void tls_prepare(const char *authority) { die("compiled without TLS: %s", authority); }
static Session *tls_begin(int fd) { return (void)fd, NULL; }
static ssize_t tls_shake(Session *session) { return session != NULL; }
static int tls_wants_write(const Session *session) { return session != NULL; }
static ssize_t tls_write(Session *session, const void *data, size_t len) { return session && data ? (ssize_t)len : 0; }
static ssize_t tls_read(Session *session, void *room, size_t len) { return session && room ? (ssize_t)len : 0; }
static int tls_has_more(const Session *session) { return session != NULL; }
static void tls_end(Session *session) { (void)session; }
#endif

#endif
