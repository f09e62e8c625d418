/*
 * TLS sessions on channels. It alone knows how OpenSSL is fed: it reads from the socket and writes into a flow of
 * ciphertext through a BIO of our own, so that a response of many small records costs one system call. A large record,
 * or one that is alone, goes to the socket from where OpenSSL has it. All sessions share the BIO, which takes memory in
 * each otherwise: it stands for the session that was asked last, and nothing happens between asking and answering.
 *
 * Invariants: OpenSSL is never told that it cannot write: what it writes is taken, and no more plaintext is taken while
 * CIPHERTEXT_MOST stand unsent. io.readable is cleared only once OpenSSL has nothing more to give and the socket is
 * empty.
 */
#include "worker/tls/session.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/flow.h"
#include "worker/base/iov.h"
#include "worker/base/log.h"
#include "worker/channel.h"

#define READ_MOST (64 * 1024)   /* of records that give nothing to read: then others have their turn */
#define STEP_MOST (16 * 1024)   /* of a client's handshake, which may come in records of a byte; then likewise */
#define HANDSHAKE_MOST (256 * 1024)     /* of a server's: more than OpenSSL takes of a peer's certificates */
#define CIPHERTEXT_MOST (64 * 1024)
#define CIPHERTEXT_SLOW (4 * 1024)      /* to a peer that reads slowly: what is not encrypted yet costs nothing twice */
#define RECORD_SMALL 1300       /* with what TLS, TCP and IP add: a segment of Ethernet's */
#define RECORD_LARGE (16 * 1024)
#define SMALL_BYTES (48 * 1024) /* so much goes in small ones: by then the congestion window is open */
#define QUIET_MS 1000           /* without a write: small ones again */
#define IOVECS 16

struct tls {
    SSL *ssl;
    struct channel *ch;
    struct flow out;            /* ciphertext for the socket */
    char *early;                /* read before the session began; NULL: all of it was taken */
    size_t early_at, early_n;
    uint64_t burst;             /* plaintext written since the connection was quiet */
    int64_t wrote_ms;
    unsigned long reason;       /* OpenSSL's code for why the handshake failed; 0: none */
    size_t taken;               /* off the socket, for this call */
    bool dry;                   /* the socket was empty when it was last looked at */
    bool ended;                 /* the peer's FIN was seen */
    bool lost;                  /* the socket takes or gives no more */
    bool failed;                /* OpenSSL has given up: nothing more may be asked of it */
    bool full;                  /* the socket was, at the last write */
    bool server;
    bool done;                  /* the handshake is over */
    bool direct;                /* what OpenSSL writes now may go to the socket at once */
    bool more;                  /* and more follows it */
    bool follows;               /* more will be written after this write */
};

static BIO *transport;
static struct tls *asked;       /* whose transport it is now */

/* --- what OpenSSL sees as its transport --- */

static int
take_early(struct tls *t, char *to, int n)
{
    size_t most = t->early_n - t->early_at;

    if ((size_t)n < most)
        most = (size_t)n;
    memcpy(to, t->early + t->early_at, most);
    t->early_at += most;
    if (t->early_at == t->early_n) {
        free(t->early);
        t->early = NULL;
    }
    return (int)most;
}

/* So much is taken off the socket in one call. */
static size_t
taken_most(const struct tls *t)
{
    return t->done ? READ_MOST : t->server ? STEP_MOST : HANDSHAKE_MOST;
}

static int
transport_read(BIO *b, char *to, int n)
{
    struct tls *t = asked;
    struct io *io = &t->ch->io;
    ssize_t got;

    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    if (t->early != NULL)
        return take_early(t, to, n);
    if ((t->dry && !io->fresh) || t->taken > taken_most(t)) {
        BIO_set_retry_read(b);
        return -1;
    }
    io->fresh = false;
    do
        got = recv(io->fd, to, (size_t)n, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        t->dry = true;
        BIO_set_retry_read(b);
        return -1;
    }
    t->taken += got > 0 ? (size_t)got : 0;
    t->dry = got > 0 && got < n && !io->hangup;
    t->ended = t->ended || got == 0;
    t->lost = t->lost || got < 0;
    return (int)got;
}

/* How much of it the socket took. */
static size_t
send_now(struct tls *t, const char *from, size_t n)
{
    struct io *io = &t->ch->io;
    ssize_t sent;

    do
        sent = send(io->fd, from, n, MSG_NOSIGNAL | MSG_DONTWAIT | (t->more ? MSG_MORE : 0));
    while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        io->writable = false;
        t->lost = t->lost || errno != EAGAIN;
        return 0;
    }
    t->ch->sent += (uint64_t)sent;
    return (size_t)sent;
}

static int
transport_write(BIO *b, const char *from, int n)
{
    struct tls *t = asked;
    size_t sent = t->direct && t->out.bytes == 0 ? send_now(t, from, (size_t)n) : 0;

    BIO_clear_retry_flags(b);
    if (sent < (size_t)n)
        flow_copy(&t->out, (struct str){from + sent, (size_t)n - sent});
    return n;
}

static long
transport_control(BIO *b, int command, long number, void *p)
{
    (void)b;
    (void)number;
    (void)p;
    if (command == BIO_CTRL_EOF)
        return asked->ended;
    return command == BIO_CTRL_FLUSH;
}

static void
make_transport(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "channel");

    check(method != NULL);
    BIO_meth_set_read(method, transport_read);
    BIO_meth_set_write(method, transport_write);
    BIO_meth_set_ctrl(method, transport_control);
    transport = BIO_new(method);
    check(transport != NULL);
    BIO_set_init(transport, 1);
}

/*
 * The session, before each call that reads or writes. SSL_get_error looks at the queue of errors, which has to be empty
 * by then: it nearly always is, and to see that costs a tenth of clearing it.
 */
static SSL *
ask(struct tls *t)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
    asked = t;
    return t->ssl;
}

/* --- the beginning and the end --- */

void
tls_begin(struct channel *ch, struct ssl_st *ssl, bool server, struct str early)
{
    struct tls *t = xcalloc(1, sizeof *t);

    if (transport == NULL)
        make_transport();
    BIO_up_ref(transport);
    flow_init(&t->out, SIZE_MAX);
    t->ssl = ssl;
    t->ch = ch;
    t->server = server;
    if (early.n > 0) {
        t->early = xcalloc(1, early.n);
        memcpy(t->early, early.p, early.n);
        t->early_n = early.n;
        ch->io.readable = true;
    }
    SSL_set_bio(ssl, transport, transport);
    SSL_set_read_ahead(ssl, 1);
    SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    if (server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    ch->tls = t;
}

void
tls_free(struct channel *ch)
{
    struct tls *t = ch->tls;

    ch->tls = NULL;
    SSL_free(t->ssl);
    flow_clear(&t->out);
    free(t->early);
    free(t);
}

struct ssl_st *
tls_ssl(const struct channel *ch)
{
    return ch->tls->ssl;
}

bool
tls_resumed(const struct channel *ch)
{
    return SSL_session_reused(ch->tls->ssl) == 1;
}

bool
tls_is_h2(const struct channel *ch)
{
    const unsigned char *name;
    unsigned n;

    SSL_get0_alpn_selected(ch->tls->ssl, &name, &n);
    return n == 2 && memcmp(name, "h2", 2) == 0;
}

/* --- ciphertext --- */

/* `more`: what follows at once goes in one packet with it. */
static int
flush(struct channel *ch, bool more)
{
    struct tls *t = ch->tls;
    int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);

    while (t->out.bytes > 0 && !t->lost) {
        struct iovec iov[IOVECS];
        struct msghdr msg = {.msg_iov = iov};
        ssize_t n;

        msg.msg_iovlen = (size_t)flow_iov(&t->out, iov, IOVECS, SIZE_MAX);
        if (msg.msg_iovlen == 1)
            n = send(ch->io.fd, iov->iov_base, iov->iov_len, flags);
        else
            n = sendmsg(ch->io.fd, &msg, flags);
        if (n >= 0) {
            flow_eat(&t->out, (size_t)n);
            ch->sent += (uint64_t)n;
        } else if (errno == EAGAIN) {
            ch->io.writable = false;
            return 0;
        } else if (errno != EINTR) {
            t->lost = true;
        }
    }
    return t->lost ? -1 : 1;
}

int
tls_flush(struct channel *ch)
{
    return flush(ch, false);
}

/* --- the handshake --- */

/*
 * After the last step: the peer does not wait for what stands here. A server's tickets of TLS 1.3 go with the first
 * response (the kernel holds them 200 ms at most), a client's Finished goes with its request. Before 1.3 it may be a
 * server's own Finished.
 */
static bool
is_awaited(const struct tls *t)
{
    return t->server && SSL_version(t->ssl) < TLS1_3_VERSION;
}

enum tls_step
tls_handshake(struct channel *ch)
{
    struct tls *t = ch->tls;
    int result, error;

    t->taken = 0;
    result = SSL_do_handshake(ask(t));
    error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, result);
    if (error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ) {
        if (flush(ch, error == SSL_ERROR_NONE && !is_awaited(t)) < 0)
            return TLS_STEP_FAILED;
    } else {
        tls_flush(ch);          /* an alert */
    }
    if (error == SSL_ERROR_NONE) {
        t->done = true;
        ch->io.readable = true;         /* what came behind it may stand here already */
        return TLS_STEP_DONE;
    }
    if (error != SSL_ERROR_WANT_READ) {
        t->failed = true;
        t->reason = ERR_peek_last_error();
        return TLS_STEP_FAILED;
    }
    ch->io.readable = t->server && t->taken > STEP_MOST;
    return TLS_STEP_WAIT;
}

bool
tls_met_http(const struct channel *ch)
{
    return ERR_GET_REASON(ch->tls->reason) == SSL_R_HTTP_REQUEST;
}

const char *
tls_why(const struct channel *ch)
{
    const struct tls *t = ch->tls;
    long verified = SSL_get_verify_result(t->ssl);
    const char *text;

    if (t->reason == 0 || t->ended)
        return NULL;
    if (verified != X509_V_OK)
        return X509_verify_cert_error_string(verified);
    text = ERR_reason_error_string(t->reason);
    return text != NULL ? text : "the peer broke it off";
}

/* --- plaintext --- */

/*
 * OpenSSL may have had something to say while it read: an alert, the answer to a key update. A peer that asks for such
 * answers and doesn't read them is lost once they are too much.
 */
static ssize_t
answer(struct channel *ch, ssize_t result)
{
    struct tls *t = ch->tls;

    if (t->out.bytes > 0 && (tls_flush(ch) < 0 || t->out.bytes > 2 * CIPHERTEXT_MOST))
        return result > 0 ? result : -2;
    return result;
}

ssize_t
tls_read(struct channel *ch, char *to, size_t n)
{
    struct tls *t = ch->tls;
    int result;

    if (t->failed || t->out.bytes > 2 * CIPHERTEXT_MOST)
        return -2;              /* as answer() says, with content between what asks for answers, too */
    t->taken = 0;
    result = SSL_read(ask(t), to, n < INT_MAX ? (int)n : INT_MAX);
    if (result > 0) {
        if (t->dry && !ch->io.fresh && !SSL_has_pending(t->ssl))
            ch->io.readable = false;
        return answer(ch, result);
    }
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        ch->io.readable = false;
        return answer(ch, -1);
    case SSL_ERROR_ZERO_RETURN:
        return answer(ch, 0);
    default:
        t->failed = true;
        tls_flush(ch);          /* an alert */
        return -2;
    }
}

static size_t
record_size(struct tls *t)
{
    if (clock_ms() - t->wrote_ms > QUIET_MS)
        t->burst = 0;
    return t->burst < SMALL_BYTES ? RECORD_SMALL : RECORD_LARGE;
}

/* The plaintext of a record: where it stands, or put together in `space`. */
static const char *
gather(const struct iovec *iov, int n, size_t at, size_t most, char *space, size_t *got)
{
    if (iov->iov_len - at >= most || n == 1) {
        *got = iov->iov_len - at < most ? iov->iov_len - at : most;
        return (const char *)iov->iov_base + at;
    }
    for (*got = 0; n > 0 && *got < most; n--, iov++, at = 0) {
        size_t part = iov->iov_len - at < most - *got ? iov->iov_len - at : most - *got;

        memcpy(space + *got, (const char *)iov->iov_base + at, part);
        *got += part;
    }
    return space;
}

/* Over the pieces that n bytes were. */
static void
step_over(const struct iovec **iov, int *count, size_t *at, size_t n)
{
    for (; *count > 0 && n >= (*iov)->iov_len - *at; (*count)--, *at = 0)
        n -= (*iov)++->iov_len - *at;
    *at += n;
}

/*
 * One record of what is `left`; how many bytes of plaintext are in it, 0: it cannot be made. Of many small ones all are
 * sent together; a large one is not copied for that. `room`: so much may still be taken in this round.
 */
static size_t
put_record(struct tls *t, const struct iovec *iov, int count, size_t at, size_t left, size_t room)
{
    static char space[RECORD_LARGE];
    size_t n;
    const char *from = gather(iov, count, at, record_size(t), space, &n);
    int wrote;

    t->direct = n == RECORD_LARGE || n == left;
    t->more = n < left ? n < room : t->follows;
    wrote = SSL_write(ask(t), from, (int)n);
    t->direct = t->more = false;
    if (wrote != (int)n)
        return 0;
    t->burst += n;
    t->wrote_ms = clock_ms();
    return n;
}

/* Records until that is enough for one round, or all is taken. How much of it was; -1: the session is no more. */
static ssize_t
put_records(struct tls *t, const struct iovec *iov, int count)
{
    size_t most = t->full ? CIPHERTEXT_SLOW : CIPHERTEXT_MOST, left = iov_length(iov, count), all = 0, at = 0;

    step_over(&iov, &count, &at, 0);
    while (left > 0 && all < most && t->out.bytes < most && (all == 0 || t->ch->io.writable)) {
        size_t n = put_record(t, iov, count, at, left, most - all);

        if (n == 0) {
            t->failed = true;
            return -1;
        }
        all += n;
        left -= n;
        step_over(&iov, &count, &at, n);
    }
    return (ssize_t)all;
}

static ssize_t
lost(void)
{
    errno = EPIPE;
    return -1;
}

/* What does not fit into one round stays with the caller, who comes again as after any short write. */
ssize_t
tls_write(struct channel *ch, const struct iovec *iov, int count, bool more)
{
    struct tls *t = ch->tls;
    ssize_t n;
    int flushed = tls_flush(ch);

    if (flushed < 0 || t->failed)
        return lost();
    if (flushed == 0) {
        errno = EAGAIN;
        return -1;
    }
    t->follows = more;
    n = put_records(t, iov, count);
    flushed = flush(ch, more);
    t->full = flushed == 0;
    return n < 0 || flushed < 0 ? lost() : n;
}

void
tls_shutdown(struct channel *ch)
{
    struct tls *t = ch->tls;

    /* a second call would read what the peer says */
    if (!t->done || t->lost || t->failed || (SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN) != 0)
        return;
    SSL_shutdown(ask(t));
    tls_flush(ch);
}
