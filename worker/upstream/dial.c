/*
 * Dialling. A channel without TLS is being connected to; where it has TLS and dialling is not over, it is in the
 * handshake. HTTP never begins before the handshake is over, so whatever comes in its place is an error of OpenSSL's.
 */
#include "worker/upstream/dial.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/count.h"
#include "worker/tls/session.h"

bool
dial_is_ours(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == EADDRNOTAVAIL ||
           error == ENOSPC;
}

const char *
dial_error(int error)
{
    static char text[128];

    snprintf(text, sizeof(text), "%s", strerror(error));
    text[0] = (char)tolower((unsigned char)text[0]);
    return text;
}

static int
open_socket(const struct addr *a)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(a, &ss);
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -1;
    if (ss.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (struct sockaddr *)&ss, n) == 0 || errno == EINPROGRESS)
        return fd;
    one = errno;
    close(fd);
    errno = one;
    return -1;
}

bool
dial_begin(struct channel *ch, struct endpoint *e)
{
    int error;

    ch->tls = NULL;
    ch->io.fd = open_socket(&e->address);
    if (ch->io.fd < 0)
        return false;
    if (loop_add(&ch->io))
        return true;
    error = errno;
    close(ch->io.fd);
    errno = error;
    return false;
}

static enum dial_step
fail(const char **why, bool *ours, const char *text, bool our_trouble)
{
    *why = text;
    *ours = our_trouble;
    return DIAL_FAILED;
}

/* A server that names a protocol has to name the one that it was offered (RFC 7301 3.2). */
static const char *
refuse_protocol(const struct channel *ch, const struct upstream *u)
{
    const unsigned char *name;
    unsigned n;

    if (u->protocol == UPSTREAM_H2)
        return tls_is_h2(ch) ? NULL : "the server does not speak HTTP/2: it did not choose h2 by ALPN";
    SSL_get0_alpn_selected(tls_ssl(ch), &name, &n);
    if (n == 0 || (n == 8 && memcmp(name, "http/1.1", 8) == 0))
        return NULL;
    return "the server chose another protocol by ALPN than http/1.1";
}

static enum dial_step
give_up(struct endpoint *e, const char **why, bool *ours, const char *text)
{
    tls_client_forget(&e->tls);
    count_server_tls(e->server, SLOTS_TLS_FAILED);
    return fail(why, ours, text, false);
}

static enum dial_step
shake_hands(struct channel *ch, struct endpoint *e, const char **why, bool *ours)
{
    const char *refused;

    switch (tls_handshake(ch)) {
    case TLS_STEP_WAIT:
        return DIAL_WAIT;
    case TLS_STEP_FAILED:
        return give_up(e, why, ours, tls_client_why(tls_ssl(ch)));
    case TLS_STEP_DONE:
        break;
    }
    refused = refuse_protocol(ch, e->server->upstream);
    if (refused != NULL)
        return give_up(e, why, ours, refused);
    count_server_tls(e->server, tls_resumed(ch) ? SLOTS_TLS_RESUMED : SLOTS_TLS_FULL);
    return DIAL_DONE;
}

enum dial_step
dial_go_on(struct channel *ch, struct endpoint *e, const char **why, bool *ours)
{
    int error = 0;
    socklen_t n = sizeof(error);
    struct ssl_st *ssl;

    if (ch->tls != NULL)
        return shake_hands(ch, e, why, ours);
    if (!ch->io.writable)
        return DIAL_WAIT;
    getsockopt(ch->io.fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error != 0)
        return fail(why, ours, dial_error(error), dial_is_ours(error));
    if (!e->server->upstream->tls.on)
        return DIAL_DONE;
    ssl = tls_client_open(e->server, &e->tls);
    if (ssl == NULL)
        return fail(why, ours, dial_error(ENOMEM), true);
    tls_begin(ch, ssl, false, STR_NONE);
    return shake_hands(ch, e, why, ours);
}

const char *
dial_expire(const struct channel *ch, const struct endpoint *e)
{
    if (ch->tls == NULL)
        return "timed out while it was connected to";
    count_server_tls(e->server, SLOTS_TLS_FAILED);
    return "timed out in the TLS handshake";
}

const char *
dial_lost(const struct channel *ch)
{
    return ch->tls != NULL ? tls_client_lost() : dial_error(errno);
}
