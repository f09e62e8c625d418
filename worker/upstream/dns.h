/*
 * c-ares on the worker's loop: asks for the addresses of a name as the system would (hosts file, search
 * domains, resolv.conf, or the name servers that are given), and keeps of the answer what a server can
 * have. Name servers and whoever speaks in their name are hostile: what is read in a turn, how many
 * addresses are taken and how long they count is bounded.
 */
#ifndef WEIR_DNS_H
#define WEIR_DNS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/health.h"
#include "worker/key.h"

#define DNS_TTL_LEAST 1000      /* ms */
#define DNS_TTL_MOST (5 * 60 * 1000)
#define DNS_TTL_FILE 5000       /* of what is not from a name server: the hosts file */

struct ares_addrinfo;

struct dns_answer {
    const char *error;          /* why there is none, a constant; NULL: here it is */
    bool none;                  /* ... because the name has none, as a name server says */
    int64_t ttl_ms;             /* from DNS_TTL_LEAST to DNS_TTL_MOST */
    unsigned n;                 /* 1 to HEALTH_ADDRESSES */
    struct health_address v[HEALTH_ADDRESSES];      /* sorted, none twice */
};

/* Name servers, each ADDRESS:PORT; n 0: those of the system. */
void dns_init(struct str_list servers);

/*
 * For addresses of one family, or of both (AF_UNSPEC; good as soon as there is one of either). Calls done(data,
 * answer) once: from the loop, or before it returns; never after dns_close. Not to be called from done.
 */
void dns_ask(const char *name, int family, void (*done)(void *data, const struct dns_answer *answer), void *data);

/* All sockets are closed, questions forgotten. dns_ask opens anew. */
void dns_close(void);

/* What may stand in an answer. v4-mapped addresses have to be turned into v4 before. */
bool dns_may_be_server(const struct health_address *a);

/* Of what c-ares has read; `file`: it did so without asking a name server. */
void dns_read(struct dns_answer *answer, const struct ares_addrinfo *found, bool file);

/* In its place, if it is not there already and there is room. */
void dns_add(struct dns_answer *answer, const struct health_address *a);

#endif
