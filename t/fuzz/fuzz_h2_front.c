/*
 * A client over HTTP/2: input is what it sends behind its preface and SETTINGS, in pieces whose sizes come from the
 * first two bytes. A worker with a configuration of answers of its own reads it off a socket. What comes back is a
 * row of whole frames of kinds that a server sends, the fields in them can be decoded, and when the client has left
 * nothing of it is left either.
 */
#include <nghttp2/nghttp2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/load.h"
#include "t/fuzz/must.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/base/scan.h"
#include "worker/conn.h"
#include "worker/h2/client.h"
#include "worker/state.h"

#define CHOICES 2
#define TURNS 1000
#define FRAME_MOST 16384

static const char file[] = "listen: [{address: '127.0.0.1:80', h2c: true}]\n"
                           "access_log: off\n"
                           "limits: {request_headers: 4k, request_header_count: 20, request_body: 1k}\n"
                           "sites:\n"
                           "  - hosts: ['*']\n"
                           "    routes:\n"
                           "      - {match: {path: /large}, respond: {status: 200, body: '0123456789abcdef'}}\n"
                           "      - {match: {path: /moved}, redirect: {to: 'https://$host/$uri', status: 301}}\n"
                           "      - {respond: {status: 200, body: ok, headers: {X-A: b}}}\n";

static const char opening[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static void
nothing(struct task *t)
{
    (void)t;
}

static struct task tick = {.run = nothing};

static void
begin_process(void)
{
    struct findings f = {.arena = arena_new()};

    clock_update();
    log_to(-1, false, LOG_ERROR_);
    scan_init(SCAN_AVX2);
    loop_init();
    worker.conf = load_text("f", str_of(file), &f);
    MUST(worker.conf != NULL);
    worker.slots = slots_create(1, 1);
    worker.row_number = 1;
    worker.row = slots_row(worker.slots, 1);
    worker.connections_most = 1;
    arena_free(f.arena);
}

/* --- what comes back --- */

struct heard {
    uint8_t *p;
    size_t n, size;
};

static void
hear(struct heard *h, int fd)
{
    for (;;) {
        ssize_t n;

        if (h->size - h->n < FRAME_MOST) {
            h->size = 2 * h->size + FRAME_MOST;
            h->p = realloc(h->p, h->size);
        }
        n = recv(fd, h->p + h->n, h->size - h->n, MSG_DONTWAIT);
        if (n <= 0)
            return;
        h->n += (size_t)n;
    }
}

static void
decode(nghttp2_hd_inflater *inflater, uint8_t *p, size_t n, bool last)
{
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, p, n, last);

        MUST(used >= 0);
        p += used;
        n -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            MUST(nv.namelen > 0);
        if (flags & NGHTTP2_HD_INFLATE_FINAL)
            nghttp2_hd_inflate_end_headers(inflater);
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) || (n == 0 && !(flags & NGHTTP2_HD_INFLATE_EMIT)))
            return;
    }
}

/* A frame that the end of the connection cut off may be the last. */
static void
look(const struct heard *h)
{
    nghttp2_hd_inflater *inflater;
    size_t at = 0;

    MUST(nghttp2_hd_inflate_new(&inflater) == 0);
    while (h->n - at >= 9) {
        uint8_t *f = h->p + at, type = f[3];
        size_t n = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];

        MUST(n <= FRAME_MOST && type <= NGHTTP2_CONTINUATION && type != NGHTTP2_PRIORITY &&
             type != NGHTTP2_PUSH_PROMISE);
        MUST(at > 0 || type == NGHTTP2_SETTINGS);
        if (h->n - at - 9 < n)
            break;
        if (type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION)
            decode(inflater, f + 9, n, f[4] & NGHTTP2_FLAG_END_HEADERS);
        at += 9 + n;
    }
    nghttp2_hd_inflate_del(inflater);
}

/* --- the client --- */

static void
turn(void)
{
    loop_post(&tick);           /* so that it does not wait */
    loop_turn(NULL);
}

static void
say(int fd, struct heard *h, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

        turn();
        hear(h, fd);
        if (sent <= 0)
            return;
        p += sent;
        n -= (size_t)sent;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct heard h = {0};
    uint32_t seed;
    int fd[2];

    if (n < CHOICES)
        return 0;
    if (worker.conf == NULL)
        begin_process();
    seed = (uint32_t)data[0] << 8 | data[1] | 1;
    data += CHOICES;
    n -= CHOICES;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
    conn_new(fd[0], &worker.conf->listeners[0], &(struct ip){0}, 1);
    say(fd[1], &h, (const uint8_t *)opening, sizeof(opening) - 1);
    while (n > 0) {
        size_t piece;

        seed = seed * 1664525 + 1013904223;
        piece = (seed >> 20) % (seed >> 31 ? 4096 : 24) + 1;
        piece = piece < n ? piece : n;
        say(fd[1], &h, data, piece);
        data += piece;
        n -= piece;
    }
    shutdown(fd[1], SHUT_WR);
    for (int i = 0; i < TURNS && worker.connections > 0; i++) {
        turn();
        hear(&h, fd[1]);
        if (i == TURNS / 2) {   /* a request that waits for content goes with its client alone */
            close(fd[1]);
            fd[1] = -1;
        }
    }
    MUST(worker.connections == 0 && worker.requests == NULL);
    look(&h);
    free(h.p);
    if (fd[1] >= 0)
        close(fd[1]);
    return 0;
}
