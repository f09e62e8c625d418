/*
 * One question to an OCSP responder, over HTTP in the clear as RFC 6960 A.1 has it: the name is resolved, the addresses
 * tried in turn, the answer read; ten seconds for all of it. Runs in the worker that holds the lease.
 */
#ifndef WEIR_TLS_OCSP_FETCH_H
#define WEIR_TLS_OCSP_FETCH_H

#include "worker/base/addr.h"
#include "worker/base/loop.h"
#include "worker/tls/ocsp_answer.h"
#include "worker/upstream/dns.h"

#define OCSP_FETCH_MS 10000
#define OCSP_WHY_SIZE 160

/* Where a responder is. */
struct ocsp_url {
    struct str text;            /* all of it, for messages */
    struct str authority;       /* of Host: as written, without a default port */
    struct str target;
    struct ip ip;               /* family 0: */
    const char *name;           /* it is given by name */
    uint16_t port;
};

/* False: it is no http:// URL, or one that could be read in two ways. What it points to is in the arena. */
bool ocsp_url_parse(struct ocsp_url *u, struct str text, struct arena *a);

/* Zero at first; one question after the other. */
struct ocsp_fetch {
    const struct ocsp_url *url;
    struct str request;         /* DER */
    /* Called once, from the loop, unless it is cancelled: the answer, or NULL and why there is none. */
    void (*done)(struct ocsp_fetch *f, const struct ocsp_answer *answer, const char *why);

    /* its own */
    enum { OCSP_FETCH_NONE, OCSP_FETCH_BEGINNING, OCSP_FETCH_RESOLVING, OCSP_FETCH_CONNECTING, OCSP_FETCH_SENDING,
           OCSP_FETCH_READING } state;
    bool asked;                 /* the resolver has not answered, be it an earlier question */
    struct task task;
    struct timer timer;
    struct io io;
    int64_t until_ms;           /* clock_ms: for all of it */
    struct health_address addresses[HEALTH_ADDRESSES];
    unsigned address_count, tried;
    struct arena *arena;
    struct str head_and_request;
    size_t sent;
    struct ocsp_answer *answer;
    char why[OCSP_WHY_SIZE];
};

/* url, request and done are set; what they point to lives until done was called, or it is cancelled. */
void ocsp_fetch_begin(struct ocsp_fetch *f);

/* Nothing is under way any more; the resolver is closed right after (dns_close). */
void ocsp_fetch_cancel(struct ocsp_fetch *f);

#endif
