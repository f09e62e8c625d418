/* TLS between a socket and who reads and writes: records, ends, and what a peer can do to either. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "t/unit/unit.h"
#include "worker/base/buffer.h"
#include "worker/base/clock.h"
#include "worker/base/flow.h"
#include "worker/channel.h"
#include "worker/tls/session.h"

#define MOST (512 * 1024)

static int ends[2];             /* ours, the peer's */
static struct channel ch;
static SSL_CTX *ours, *theirs;
static SSL *peer;
static char bytes[MOST], got[MOST];

static void
certify(SSL_CTX *ctx)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();

    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_sign(x, key, EVP_sha256());
    ck_assert_int_eq(SSL_CTX_use_certificate(ctx, x), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void
begin(struct str early)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    ch = (struct channel){.io = {.fd = ends[0], .readable = true, .writable = true}};
    tls_begin(&ch, SSL_new(ours), true, early);
    peer = SSL_new(theirs);
    SSL_set_fd(peer, ends[1]);
    SSL_set_connect_state(peer);
}

static void
set_up(void)
{
    clock_update();
    ours = SSL_CTX_new(TLS_server_method());
    theirs = SSL_CTX_new(TLS_client_method());
    certify(ours);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31 + i / 253);
    begin(STR_NONE);
}

static void
tear_down(void)
{
    tls_free(&ch);
    SSL_free(peer);
    SSL_CTX_free(ours);
    SSL_CTX_free(theirs);
    close(ends[0]);
    close(ends[1]);
    flow_flush();
    buffer_flush();
}

/* As the loop would say it. */
static void
news(void)
{
    ch.io.readable = ch.io.writable = ch.io.fresh = true;
}

static enum tls_step
shake_hands(void)
{
    enum tls_step step = TLS_STEP_WAIT;

    for (int i = 0; i < 20; i++) {
        SSL_do_handshake(peer);
        news();
        if (step == TLS_STEP_WAIT && (step = tls_handshake(&ch)) == TLS_STEP_FAILED)
            return step;
        if (step == TLS_STEP_DONE && SSL_is_init_finished(peer))
            return step;
    }
    return TLS_STEP_WAIT;
}

/* What the peer can read now, into `got` from `at`. */
static size_t
peer_reads(size_t at)
{
    int n;

    while (at < sizeof got && (n = SSL_read(peer, got + at, (int)(sizeof got - at))) > 0)
        at += (size_t)n;
    return at;
}

static ssize_t
put(size_t from, size_t n)
{
    struct iovec iov = {bytes + from, n};

    return channel_write(&ch, &iov, 1, false);
}

/* --- both ways --- */

START_TEST(bytes_come_and_go)
{
    char in[64];

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    ck_assert(!tls_resumed(&ch));
    ck_assert_int_eq(SSL_write(peer, "hello", 5), 5);
    news();
    ck_assert_int_eq(channel_read(&ch, in, sizeof in), 5);
    ck_assert_mem_eq(in, "hello", 5);
    ck_assert_int_eq(channel_read(&ch, in, sizeof in), -1);
    ck_assert(!ch.io.readable);
    ck_assert_int_eq(put(0, 1000), 1000);
    ck_assert_uint_eq(peer_reads(0), 1000);
    ck_assert_mem_eq(got, bytes, 1000);
}
END_TEST

/* What was decrypted but not given out keeps the channel readable, though the socket is empty. */
START_TEST(what_is_left_of_a_record_is_told)
{
    char in[64];
    size_t n = 0;

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    ck_assert_int_eq(SSL_write(peer, bytes, 1000), 1000);
    ck_assert_int_eq(SSL_write(peer, bytes + 1000, 1000), 1000);
    news();
    while (ch.io.readable) {
        ssize_t part = channel_read(&ch, in, sizeof in);

        if (part == -1)
            break;
        ck_assert_int_gt(part, 0);
        memcpy(got + n, in, (size_t)part);
        n += (size_t)part;
    }
    ck_assert_uint_eq(n, 2000);
    ck_assert_mem_eq(got, bytes, n);
}
END_TEST

/* A handshake whose first bytes were read with a PROXY header. */
START_TEST(bytes_read_before_belong_to_it)
{
    char first[4096];
    ssize_t n;

    SSL_do_handshake(peer);
    ck_assert_int_gt(n = read(ends[0], first, sizeof first), 100);
    tls_free(&ch);
    ch = (struct channel){.io = {.fd = ends[0], .writable = true}};
    tls_begin(&ch, SSL_new(ours), true, (struct str){first, (size_t)n});
    memset(first, 0, sizeof first);
    ck_assert(ch.io.readable);
    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
}
END_TEST

/* --- records --- */

/* Sizes of the records on the way to the peer; takes them off its socket. */
static size_t
record_sizes(size_t *v, size_t most)
{
    static unsigned char raw[MOST + MOST / 4];
    size_t n = 0, at = 0, count = 0;
    ssize_t part;

    while ((part = read(ends[1], raw + n, sizeof raw - n)) > 0)
        n += (size_t)part;
    for (; at + 5 <= n && count < most; count++) {
        ck_assert_int_eq(raw[at], 23);
        v[count] = (size_t)raw[at + 3] << 8 | raw[at + 4];
        at += 5 + v[count];
    }
    ck_assert_uint_eq(at, n);
    return count;
}

static void
room(int end, int n)
{
    setsockopt(ends[end], SOL_SOCKET, SO_SNDBUF, &n, sizeof n);
}

START_TEST(records_are_small_first_and_large_later)
{
    size_t v[512], n, large = 0;

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    room(0, 4 * MOST);
    peer_reads(0);
    for (size_t at = 0; at < 200 * 1024;) {
        ssize_t part = put(at, 200 * 1024 - at);

        ck_assert_int_gt(part, 0);
        at += (size_t)part;
    }
    n = record_sizes(v, 512);
    ck_assert_uint_lt(v[0], 1400);
    ck_assert_uint_lt(v[30], 1400);
    for (size_t i = 0; i < n; i++)
        large += v[i] > 16000;
    ck_assert_uint_ge(large, 8);
}
END_TEST

START_TEST(small_pieces_share_a_record)
{
    struct iovec iov[] = {{bytes, 100}, {bytes + 100, 0}, {bytes + 100, 50}, {bytes + 150, 850}};
    size_t v[8];

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    peer_reads(0);
    ck_assert_int_eq(channel_write(&ch, iov, 4, false), 1000);
    ck_assert_uint_eq(record_sizes(v, 8), 1);
}
END_TEST

/* --- a peer that does not read --- */

START_TEST(what_waits_for_the_socket_is_bounded)
{
    size_t taken = 0, read_by_peer = 0;
    uint64_t sent;
    ssize_t n;

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    peer_reads(0);
    sent = ch.sent;
    room(0, 8 * 1024);
    while ((n = put(taken, MOST - taken)) > 0 && ch.io.writable)
        taken += (size_t)n;
    taken += n > 0 ? (size_t)n : 0;
    ck_assert_uint_lt(taken, ch.sent - sent + 100 * 1024);
    ck_assert_int_eq(channel_flush(&ch), 0);
    n = put(taken, 1000);
    ck_assert_int_eq(n, -1);
    ck_assert_int_eq(errno, EAGAIN);
    /* once it reads on, all comes, in order, whatever was short */
    while (taken < MOST || channel_flush(&ch) == 0) {
        read_by_peer = peer_reads(read_by_peer);
        ch.io.writable = true;
        if (taken < MOST && (n = put(taken, MOST - taken)) > 0)
            taken += (size_t)n;
    }
    ck_assert_uint_eq(peer_reads(read_by_peer), MOST);
    ck_assert_mem_eq(got, bytes, MOST);
}
END_TEST

/* Each key update asks for one of ours: who sends them and reads nothing is lost, not a heap of answers. */
START_TEST(a_flood_of_key_updates_ends)
{
    char in[64];
    ssize_t n = -1;

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    room(0, 4 * 1024);
    for (int i = 0; i < 100000 && n == -1; i++) {
        SSL_key_update(peer, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(peer);
        news();
        n = channel_read(&ch, in, sizeof in);
    }
    ck_assert_int_ne(n, 0);
    ck_assert_int_lt(n, 1);
}
END_TEST

/* --- ends --- */

/* Those that want no answer: the loop is not held up, however many there are. */
START_TEST(key_updates_without_end_are_read_in_turns)
{
    BIO *all = BIO_new(BIO_s_mem());
    int more = 1 << 20, turns = 0;
    size_t n, at = 0;
    char in[64], *p;

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    peer_reads(0);
    SSL_set0_wbio(peer, all);
    for (int i = 0; i < 20000; i++) {
        ck_assert_int_eq(SSL_key_update(peer, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        ck_assert_int_eq(SSL_do_handshake(peer), 1);
    }
    ck_assert_int_eq(SSL_write(peer, "hello", 5), 5);
    n = (size_t)BIO_get_mem_data(all, &p);
    ck_assert_uint_gt(n, 400000);
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &more, sizeof more);
    for (ssize_t got_n = -1; got_n == -1; turns++) {
        ssize_t sent = write(ends[1], p + at, n - at);

        at += sent > 0 ? (size_t)sent : 0;
        news();
        got_n = channel_read(&ch, in, sizeof in);
        ck_assert(got_n == 5 || got_n == -1);
    }
    ck_assert_mem_eq(in, "hello", 5);
    ck_assert_int_ge(turns, (int)(n / (96 * 1024)));
}
END_TEST

START_TEST(close_notify_is_an_end)
{
    char in[64];

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    SSL_shutdown(peer);
    news();
    ck_assert_int_eq(channel_read(&ch, in, sizeof in), 0);
    ck_assert_int_eq(channel_read(&ch, in, sizeof in), 0);
}
END_TEST

/* Anyone on the way can make a FIN. */
START_TEST(a_fin_alone_is_none)
{
    char in[64];

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    shutdown(ends[1], SHUT_WR);
    news();
    ch.io.hangup = true;
    ck_assert_int_eq(channel_read(&ch, in, sizeof in), -2);
    ck_assert_int_eq(channel_read(&ch, in, sizeof in), -2);
}
END_TEST

START_TEST(an_end_is_told_by_close_notify)
{
    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    ck_assert_int_eq(put(0, 10), 10);
    channel_shutdown(&ch);
    ck_assert_uint_eq(peer_reads(0), 10);
    ck_assert_int_eq(SSL_get_shutdown(peer), SSL_RECEIVED_SHUTDOWN);
    ck_assert_int_eq(put(0, 10), -1);
}
END_TEST

/* A close_notify that the socket has no room for comes before the FIN, or a whole response would look cut. */
START_TEST(an_end_waits_for_room)
{
    static char fill[4096];
    char raw[4096];
    ssize_t n;

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    peer_reads(0);
    room(0, 8 * 1024);
    while (write(ends[0], fill, sizeof fill) > 0)
        continue;
    channel_shutdown(&ch);
    ck_assert_int_eq(channel_flush(&ch), 0);
    channel_finish(&ch);
    while ((n = read(ends[1], raw, sizeof raw)) > 0)
        continue;
    ck_assert_msg(n == -1 && errno == EAGAIN, "a FIN came first");
    news();
    ck_assert_int_eq(channel_flush(&ch), 1);
    ck_assert_int_eq(SSL_read(peer, raw, sizeof raw), 0);
    ck_assert_int_eq(SSL_get_shutdown(peer), SSL_RECEIVED_SHUTDOWN);
    ck_assert_int_eq(read(ends[1], raw, sizeof raw), 0);
}
END_TEST

START_TEST(plain_http_is_known)
{
    ck_assert_int_gt(write(ends[1], "GET / HTTP/1.1\r\n\r\n", 18), 0);
    news();
    ck_assert_int_eq(tls_handshake(&ch), TLS_STEP_FAILED);
    ck_assert(tls_met_http(&ch));
    ck_assert_ptr_nonnull(tls_why(&ch));
}
END_TEST

/* Nothing is wrong with who only looked in. */
START_TEST(a_peer_that_leaves_is_no_reason)
{
    SSL_do_handshake(peer);
    shutdown(ends[1], SHUT_WR);
    news();
    ck_assert_int_eq(tls_handshake(&ch), TLS_STEP_WAIT);
    ch.io.hangup = true;
    news();
    ck_assert_int_eq(tls_handshake(&ch), TLS_STEP_FAILED);
    ck_assert_ptr_null(tls_why(&ch));
}
END_TEST

START_TEST(rubbish_fails_and_does_not_read_as_plaintext)
{
    char in[64];

    ck_assert_int_eq(shake_hands(), TLS_STEP_DONE);
    ck_assert_int_gt(write(ends[1], "GET / HTTP/1.1\r\n\r\n", 18), 0);
    news();
    ck_assert_int_eq(channel_read(&ch, in, sizeof in), -2);
    ck_assert_int_eq(put(0, 10), -1);
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("session");
    TCase *t = tcase_create("session");

    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, bytes_come_and_go);
    tcase_add_test(t, what_is_left_of_a_record_is_told);
    tcase_add_test(t, bytes_read_before_belong_to_it);
    tcase_add_test(t, records_are_small_first_and_large_later);
    tcase_add_test(t, small_pieces_share_a_record);
    tcase_add_test(t, what_waits_for_the_socket_is_bounded);
    tcase_add_test(t, a_flood_of_key_updates_ends);
    tcase_add_test(t, key_updates_without_end_are_read_in_turns);
    tcase_add_test(t, close_notify_is_an_end);
    tcase_add_test(t, a_fin_alone_is_none);
    tcase_add_test(t, an_end_is_told_by_close_notify);
    tcase_add_test(t, an_end_waits_for_room);
    tcase_add_test(t, plain_http_is_known);
    tcase_add_test(t, a_peer_that_leaves_is_no_reason);
    tcase_add_test(t, rubbish_fails_and_does_not_read_as_plaintext);
    suite_add_tcase(s, t);
    return s;
}

int
main(void)
{
    return unit_run(suite());
}
