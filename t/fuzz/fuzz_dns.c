/*
 * Answers of a name server. The input is cut into messages that come as answers, one for each read of a
 * socket, through c-ares into what is taken of them: bounded, sorted, none twice, only addresses that a
 * server can have, a TTL between floor and ceiling.
 *
 * The first byte of an input chooses: bit 0: over TCP (the first answer over UDP says "truncated"); bit 1: the id and
 * the question of each message are those that were asked; bit 2: the id alone is. Then a byte of length in
 * units of 4 bytes before each message.
 */
#include <ares.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "t/fuzz/must.h"
#include "worker/upstream/dns.h"

#define SOCKETS 16
#define HEADER 12
#define MESSAGE_MOST 4096
#define ROUNDS 200

enum { OVER_TCP = 1, SAME_QUESTION = 2, SAME_ID = 4 };

struct talk {
    const uint8_t *at, *end;    /* of the input */
    unsigned how;
    unsigned opened;
    bool tcp[SOCKETS];
    uint8_t asked[SOCKETS][4][512];     /* the questions that were sent and not answered yet */
    size_t asked_n[SOCKETS][4];
    uint8_t stream[2 * MESSAGE_MOST];   /* of the socket that is read: one message with its length */
    size_t stream_at, stream_n;
    bool done;
    bool moved;                 /* something was sent or read in this round */
};

static struct talk talk;

static ares_socket_t
open_socket(int domain, int type, int protocol, void *data)
{
    (void)domain, (void)protocol, (void)data;
    if (talk.opened == SOCKETS)
        return ARES_SOCKET_BAD;
    talk.tcp[talk.opened] = type == SOCK_STREAM;
    return (ares_socket_t)talk.opened++;
}

static int
close_socket(ares_socket_t fd, void *data)
{
    (void)fd, (void)data;
    return 0;
}

static int
connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t n, void *data)
{
    (void)fd, (void)to, (void)n, (void)data;
    return 0;
}

static void
note_question(ares_socket_t fd, const uint8_t *p, size_t n)
{
    MUST(n > HEADER && n <= sizeof(talk.asked[fd][0]));
    for (int i = 0; i < 4; i++)
        if (talk.asked_n[fd][i] == 0) {
            memcpy(talk.asked[fd][i], p, n);
            talk.asked_n[fd][i] = n;
            return;
        }
}

static ares_ssize_t
transmit(ares_socket_t fd, const struct iovec *iov, int n, void *data)
{
    uint8_t text[2048];
    size_t size = 0, skip = talk.tcp[fd] ? 2 : 0;

    (void)data;
    talk.moved = true;
    for (int i = 0; i < n; i++) {
        MUST(size + iov[i].iov_len <= sizeof(text));
        memcpy(text + size, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    }
    for (size_t at = 0, length = size; at + skip < size; at += skip + length) {
        if (talk.tcp[fd])
            length = (size_t)text[at] << 8 | text[at + 1];
        note_question(fd, text + at + skip, length);
    }
    return (ares_ssize_t)size;
}

/* A question that waits for its answer; 0: none. */
static size_t
take_question(ares_socket_t fd, uint8_t *to)
{
    for (int i = 0; i < 4; i++)
        if (talk.asked_n[fd][i] > 0) {
            size_t n = talk.asked_n[fd][i];

            memcpy(to, talk.asked[fd][i], n);
            talk.asked_n[fd][i] = 0;
            return n;
        }
    return 0;
}

/* The next message of the input, made to match the question as far as that is chosen. */
static size_t
make_message(uint8_t *to, const uint8_t *question, size_t question_n)
{
    size_t n = (size_t)*talk.at++ * 4, left = (size_t)(talk.end - talk.at), at = 0;

    if (n > left)
        n = left;
    if (question_n > 0 && (talk.how & SAME_QUESTION)) {
        /* the rest of the input's header, the question as it was asked, what follows from the input */
        memcpy(to, question, question_n);
        at = question_n;
        if (n >= 8) {
            memcpy(to + 2, talk.at, 2);
            memcpy(to + 6, talk.at + 2, 6);
            talk.at += 8;
            n -= 8;
        }
        to[2] = (uint8_t)((to[2] | 0x80) & ~0x78);
    }
    memcpy(to + at, talk.at, n);
    talk.at += n;
    at += n;
    if (question_n > 0 && at >= 2 && (talk.how & (SAME_QUESTION | SAME_ID)))
        memcpy(to, question, 2);
    return at;
}

static ares_ssize_t
nothing(void)
{
    errno = EAGAIN;
    return -1;
}

static ares_ssize_t
receive_stream(ares_socket_t fd, void *to, size_t n)
{
    uint8_t question[512];
    size_t size;

    if (talk.stream_at == talk.stream_n) {
        if (talk.at == talk.end || (size = take_question(fd, question)) == 0)
            return nothing();
        size = make_message(talk.stream + 2, question, size);
        talk.stream[0] = (uint8_t)(size >> 8);
        talk.stream[1] = (uint8_t)size;
        talk.stream_at = 0;
        talk.stream_n = size + 2;
    }
    if (n > talk.stream_n - talk.stream_at)
        n = talk.stream_n - talk.stream_at;
    talk.moved = true;
    memcpy(to, talk.stream + talk.stream_at, n);
    talk.stream_at += n;
    return (ares_ssize_t)n;
}

static ares_ssize_t
receive(ares_socket_t fd, void *to, size_t n, int flags, struct sockaddr *from, ares_socklen_t *from_n, void *data)
{
    struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    uint8_t question[512], message[2 * MESSAGE_MOST];
    size_t size;

    (void)flags, (void)data;
    if (from != NULL) {
        memcpy(from, &server, *from_n < sizeof(server) ? *from_n : sizeof(server));
        *from_n = sizeof(server);
    }
    if (talk.tcp[fd])
        return receive_stream(fd, to, n);
    if (talk.at == talk.end || (size = take_question(fd, question)) == 0)
        return nothing();
    talk.moved = true;
    if (talk.how & OVER_TCP) {
        question[2] |= 0x82;
        memcpy(message, question, size);
    } else {
        size = make_message(message, question, size);
    }
    memcpy(to, message, size < n ? size : n);
    return (ares_ssize_t)(size < n ? size : n);
}

static const struct ares_socket_functions functions = {
    open_socket, close_socket, connect_socket, receive, transmit,
};

static void
look(const struct dns_answer *answer)
{
    MUST(answer->ttl_ms >= DNS_TTL_LEAST && answer->ttl_ms <= DNS_TTL_MOST);
    MUST(answer->n <= HEALTH_ADDRESSES && (answer->n == 0) == (answer->error != NULL));
    for (unsigned i = 0; i < answer->n; i++) {
        const struct health_address *a = &answer->v[i];
        static const uint8_t zeros[12], mapped[12] = {[10] = 0xff, [11] = 0xff};

        MUST(a->family == AF_INET || a->family == AF_INET6);
        MUST(dns_may_be_server(a));
        MUST(a->family == AF_INET6 || memcmp(a->b + 4, zeros, 12) == 0);
        MUST(a->family == AF_INET || memcmp(a->b, mapped, 12) != 0);
        MUST(a->family == AF_INET6 || (a->b[0] != 0 && a->b[0] < 224));
        if (i > 0) {
            const struct health_address *b = &answer->v[i - 1];

            MUST(b->family < a->family || (b->family == a->family && memcmp(b->b, a->b, sizeof(a->b)) < 0));
        }
    }
}

static void
answered(void *data, int status, int timeouts, struct ares_addrinfo *found)
{
    struct dns_answer answer;

    (void)data, (void)timeouts;
    MUST(!talk.done);           /* called once */
    talk.done = true;
    if (status == ARES_SUCCESS && found != NULL) {
        dns_read(&answer, found, false);
        look(&answer);
    }
    if (found != NULL)
        ares_freeaddrinfo(found);
}

static ares_channel
open_channel(void)
{
    static char lookups[] = "b";
    struct in_addr server = {htonl(INADDR_LOOPBACK)};
    struct ares_options options = {
        .timeout = 2000, .tries = 2, .servers = &server, .nservers = 1, .lookups = lookups, .ndots = 1,
    };
    ares_channel channel;

    MUST(ares_init_options(&channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SERVERS |
                                                   ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS | ARES_OPT_NDOTS) == 0);
    ares_set_socket_functions(channel, &functions, NULL);
    return channel;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    ares_channel channel;

    if (n < 1)
        return 0;
    memset(&talk, 0, sizeof(talk));
    talk.at = data + 1;
    talk.end = data + n;
    talk.how = data[0];
    channel = open_channel();
    ares_getaddrinfo(channel, "app.example.com", NULL, &hints, answered, NULL);
    for (int i = 0; i < ROUNDS && !talk.done && (talk.moved || i == 0); i++) {
        talk.moved = false;
        for (unsigned fd = 0; fd < talk.opened; fd++)
            ares_process_fd(channel, (ares_socket_t)fd, (ares_socket_t)fd);
    }
    ares_destroy(channel);
    MUST(talk.done);
    return 0;
}
