/*
 * A client's connection over HTTP/1, the front of its requests: one at a time, in order. Runs in the
 * worker. An idle one holds this struct and nothing else.
 */
#ifndef WEIR_H1_CLIENT_H
#define WEIR_H1_CLIENT_H

#include "worker/conn.h"
#include "worker/h1/reader.h"
#include "worker/h1/write.h"
#include "worker/pace.h"
#include "worker/request.h"

/* What the timer runs for: one thing at a time. */
enum client_wait {
    CLIENT_WAIT_NOTHING,        /* the origin is waited for, not the client */
    CLIENT_WAIT_HEAD,
    CLIENT_WAIT_NEXT,           /* the next request */
    CLIENT_WAIT_CONTENT,
    CLIENT_WAIT_ROOM,           /* in the socket */
    CLIENT_WAIT_TRAFFIC,        /* in a stream without an end, either way */
};

enum client_state {
    CLIENT_IDLE,                /* between requests */
    CLIENT_HEAD,                /* in the middle of a head, or before the first byte of the first */
    CLIENT_BUSY,                /* there is a request */
    CLIENT_CLOSED,              /* or what is left of it is no protocol's any more */
};

struct client {
    struct conn conn;
    uint8_t state;              /* enum client_state */
    uint8_t waits;              /* enum client_wait */
    bool sending;               /* client_send is at work */
    bool receiving, receive_again;
    uint8_t blank;              /* empty lines since the last request */
    bool close;                 /* the response says so: no request comes after it */
    bool blocked;               /* the socket takes no more of what is ready */
    bool half_closed;           /* the client has sent its FIN */
    bool gently;                /* a response is cut short by a FIN: what the client has yet to read stays whole */
    unsigned requests;
    uint64_t mark;              /* how far what the timer runs for had come when it was set */

    struct h1_reader in;
    struct h1_writer out;
    struct request *r;
    struct h1_head *head;       /* in the request's arena */
    struct pace up, down;
};

/* What an idle client costs, TLS and the allocator's own words aside. */
_Static_assert(sizeof(struct client) <= CONN_SIZE, "an idle client stays well under 1 KiB");

/* --- h1/client.c: the connection --- */

extern const struct protocol h1_protocol;

/* All was said: close_notify, and the end. */
void client_close(struct client *c);

/* Its request was given up: closed, or shut where `gently`. */
void client_cut(struct client *c);

/* The request is over and the response with the kernel: the next one, or the end. */
void client_next(struct client *c);

/*
 * Sets the timer for what is waited for now. While that stays the same and nothing of it has come, the
 * timer goes on as it is: bytes of another kind, or of the origin, gain the client no time.
 */
void client_timer(struct client *c);

void client_state(struct client *c, enum client_state state);

/* --- h1/front.c: requests come in --- */

/* Something can be read, or stands in `in` already. */
void client_input(struct client *c);

/* --- h1/send.c: responses go out --- */

extern const struct front h1_front;
extern const struct front h1_tls_front;     /* the same, but that it splices nothing */

void client_send(struct client *c);

/* Reads the request's content while there is room for it. */
void client_receive(struct client *c);

#endif
