/*
 * Counting: what happens to requests and connections, into this worker's row of the slots. Each
 * dimension (all, listener, route, upstream, server) is counted alone.
 */
#ifndef WEIR_COUNT_H
#define WEIR_COUNT_H

#include "shm/slots.h"
#include "worker/request.h"

/* A client connection was accepted / is gone. */
void count_accepted(const struct listener *l);
void count_closed(const struct listener *l);
/* It goes from one state to another (SLOTS_CONNS: none). */
void count_conn_state(enum slots_conn from, enum slots_conn to);

/* Another request on a connection that had one. */
void count_reused(const struct listener *l);

/* A request is over. */
void count_request(const struct request *r);

/* Something a client did wrong, or that went wrong with it. */
void count_client_error(const struct listener *l, enum slots_error kind);

/* A TLS handshake with a client, or with a server, is over. */
void count_tls(const struct listener *l, enum slots_tls result);
void count_server_tls(const struct server *s, enum slots_tls result);
/* HTTP/2: a connection speaks it; a client reset a stream; a connection is ended for abuse. */
void count_h2_connection(const struct listener *l);
void count_h2_reset(const struct listener *l);
void count_h2_abuse(const struct listener *l);

/* Refused by allow or deny, or by a rate_limit. */
void count_denied(const struct request *r);
void count_rate_limited(const struct request *r);
/* A regex of that route gave up on a request (REGEX_LIMIT). */
void count_regex_limit(const struct route *route);

/*
 * Of the request's route. Content of a response is encoded or decoded (enum slots_coding), and then how many bytes
 * became how many; a response goes out in a coding that weir made; content could not be decoded; no memory for a codec.
 */
void count_encoding(const struct request *r, unsigned coding);
void count_decoding(const struct request *r, unsigned coding);
void count_encoded_bytes(const struct request *r, uint64_t in, uint64_t out);
void count_encoded(const struct request *r, unsigned coding);
void count_coding_error(const struct request *r);
void count_coding_refused(const struct request *r);

void count_server_opened(const struct server *s);
void count_server_closed(const struct server *s);
void count_server_reused(const struct server *s);
void count_server_retry(const struct server *s);
void count_server_ejection(const struct server *s);
/* A request stands in line for one of its servers. */
void count_queued(const struct upstream *u);
/* It found no place in line, or waited too long; none of the servers is up; the budget has no retry for it. */
void count_queue_refused(const struct upstream *u);
void count_unserved(const struct upstream *u);
void count_retry_refused(const struct upstream *u);
void count_server_error(const struct server *s, enum slots_error kind);
void count_server_bytes(const struct server *s, uint64_t received, uint64_t sent);
/* The server's part of a request is over: its status (0: none came), and how long it took. */
void count_server_request(const struct server *s, int status, int64_t us);

#endif
