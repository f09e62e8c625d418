/*
 * A client's connection, whatever it speaks: its channel, who it is, how it is counted, and what comes before the first
 * byte of HTTP: a PROXY header, the TLS handshake, the choice of the protocol (ALPN, or the preface of HTTP/2 in the
 * clear). Then it belongs to a protocol, whose own struct begins with this one. Runs in the worker.
 */
#ifndef WEIR_CONN_H
#define WEIR_CONN_H

#include "shm/slots.h"
#include "worker/base/buffer.h"
#include "worker/channel.h"
#include "worker/conf.h"
#include "worker/tls/facts.h"

#define CONN_SIZE 480           /* of any protocol's own struct, the struct conn in it included */

struct conn;

/* What a protocol does with connections: h1/client.c, h2/client.c. */
struct protocol {
    const char *name;
    size_t size;                /* of its struct: at most CONN_SIZE; zero behind the struct conn when begin is called */
    /*
     * It is yours: make it ready. Bytes that were read already stand in c->first from c->first_at (NULL: none): take
     * the buffer over. `ready` is called next. The timer runs on with what is left of client_header.
     */
    void (*begin)(struct conn *c);
    void (*ready)(struct conn *c);      /* there is news of its socket, or its task runs */
    void (*expire)(struct conn *c);     /* its timer fired */
    void (*drain)(struct conn *c);      /* the worker begins to drain, and this connection is quiet */
    bool (*begun)(const struct conn *c);    /* it is quiet, but a request may be on its way: not to be sent away */
    void (*end)(struct conn *c);        /* it is being closed: let go of all that is yours */
};

struct conn {
    struct channel ch;
    struct timer timer;         /* the protocol's, once there is one */
    struct task task;
    const struct protocol *protocol;    /* what comes before HTTP is one, too; NULL: it is closed */
    union {
        struct {
            struct conn *newer, *older; /* while it is quiet */
        };
        struct deferred deferred;       /* once it is closed */
    };
    const struct listener *listener;
    struct ip peer;             /* the socket's, or PROXY's */
    uint8_t counted;            /* the enum slots_conn it is counted in */
    uint16_t peer_port;
    uint16_t local_port;
    bool quiet;                 /* no request: it is in the list of those that can be sent away */
    uint64_t peer_key;          /* of peer_leave */
    int64_t since;              /* clock_ms(): when it was last counted as something else */
    struct buffer *first;       /* what was read before the protocol was known */
    size_t first_at;
    struct tls_facts *facts;    /* once the handshake is over; NULL: none, or in the clear */
};

/* What requests of this connection point to; NULL: in the clear. */
static inline const struct tls_facts *
conn_facts(const struct conn *c)
{
    return c->facts;
}

/* A connection was accepted. The descriptor is the connection's from now on. */
void conn_new(int fd, const struct listener *l, const struct ip *peer, uint16_t port);

/* Protocol: counted as that from now on; quiet: it has no request. */
void conn_count(struct conn *c, enum slots_conn as, bool quiet);

/* Anyone: closes it at once, with nothing said. Its memory stays until the turn is over. */
void conn_close(struct conn *c);

/*
 * Protocol: all was said; close_notify and a FIN go out, and what the client still sends is thrown away for a while, so
 * that no reset takes the last answer from it (RFC 9112 9.6). The protocol's `end` is called: it has no part in it any
 * more.
 */
void conn_linger(struct conn *c);

/* Protocol: how long a connection without a request has, ms from now, while the worker drains: five seconds in all. */
int64_t conn_drain_ms(const struct conn *c);

/* From one protocol to the next, in worker/ alone. */
void conn_become(struct conn *c, const struct protocol *p);

extern const struct protocol conn_opening;      /* worker/opening.c */

/* The worker begins to drain: those that are quiet are told. */
void conn_drain(void);

/* Closes the one that has been without a request longest, a second at least; false: there is none. */
bool conn_evict(void);

#endif
