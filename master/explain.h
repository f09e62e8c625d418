/*
 * weir -T: what a request would meet, from the configuration alone. The path that a client's request
 * takes is taken by one that nobody sent, in a process without sockets, servers or shared memory; what is
 * decided on the way is printed as it happens, a remark a line: "FILE:LINE: PHASE  text".
 */
#ifndef WEIR_EXPLAIN_H
#define WEIR_EXPLAIN_H

#include <stddef.h>

#include "worker/conf.h"

/* The question, as it stands on the command line. */
struct ask {
    const char *method;         /* NULL: nothing is asked */
    const char *url;            /* http://HOST[:PORT]/..., or a target alone */
    const char **headers;       /* "Name: value" */
    size_t header_count;
    const char *from;           /* an address, or unix; NULL: this machine's own */
    const char *listen;         /* a listener's name or address; NULL: the URL says which */
};

/* What is wrong with it, or NULL. Needs no configuration. */
const char *explain_refuses(const struct ask *ask);

/* Prints the answer on stdout. Returns the exit status: 2 where there is no such listener, 1 where nobody reads. */
int explain(const struct conf *conf, const struct ask *ask);

#endif
