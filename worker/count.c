/*
 * Counting. It alone knows which counters an event touches. Plain stores into the worker's own row.
 */
#include "worker/count.h"

#include "worker/base/log.h"
#include "worker/state.h"

void
count_accepted(const struct listener *l)
{
    struct slots_counters *c = worker_counters(l->series);

    slots_add(&c->connections, 1);
    slots_add(&c->open, 1);
    slots_add(&worker.row->total.connections, 1);
    slots_add(&worker.row->total.open, 1);
}

void
count_closed(const struct listener *l)
{
    slots_add(&worker_counters(l->series)->open, (uint64_t)-1);
    slots_add(&worker.row->total.open, (uint64_t)-1);
}

void
count_conn_state(enum slots_conn from, enum slots_conn to)
{
    if (from < SLOTS_CONNS)
        slots_add(&worker.row->conns[from], (uint64_t)-1);
    if (to < SLOTS_CONNS)
        slots_add(&worker.row->conns[to], 1);
}

void
count_reused(const struct listener *l)
{
    slots_add(&worker_counters(l->series)->reused, 1);
    slots_add(&worker.row->total.reused, 1);
}

static void
add_request(struct slots_counters *c, int status, uint64_t received, uint64_t sent, uint64_t us)
{
    slots_add(&c->requests[status >= 100 && status < 600 ? status / 100 : 0], 1);
    slots_add(&c->bytes_received, received);
    slots_add(&c->bytes_sent, sent);
    slots_observe(c, us);
}

void
count_request(const struct request *r)
{
    uint64_t us = (uint64_t)(r->times.end - r->times.start);
    int status = r->started ? r->status : 0;

    add_request(&worker.row->total, status, r->bytes_received, r->bytes_sent, us);
    add_request(worker_counters(r->listener->series), status, r->bytes_received, r->bytes_sent, us);
    if (r->route != NULL)
        add_request(worker_counters(r->route->series), status, r->bytes_received, r->bytes_sent, us);
    worker.row->served = 1;
}

void
count_client_error(const struct listener *l, enum slots_error kind)
{
    slots_add(&worker.row->total.errors[kind], 1);
    slots_add(&worker_counters(l->series)->errors[kind], 1);
}

void
count_tls(const struct listener *l, enum slots_tls result)
{
    slots_add(&worker.row->total.tls[result], 1);
    slots_add(&worker_counters(l->series)->tls[result], 1);
}

void
count_server_tls(const struct server *s, enum slots_tls result)
{
    slots_add(&worker_counters(s->upstream->series)->tls[result], 1);
    slots_add(&worker_counters(s->series)->tls[result], 1);
}

void
count_h2_connection(const struct listener *l)
{
    slots_add(&worker.row->total.h2_connections, 1);
    slots_add(&worker_counters(l->series)->h2_connections, 1);
}

void
count_h2_reset(const struct listener *l)
{
    slots_add(&worker.row->total.h2_resets, 1);
    slots_add(&worker_counters(l->series)->h2_resets, 1);
}

void
count_h2_abuse(const struct listener *l)
{
    slots_add(&worker.row->total.h2_abuses, 1);
    slots_add(&worker_counters(l->series)->h2_abuses, 1);
}

void
count_denied(const struct request *r)
{
    slots_add(&worker.row->total.denied, 1);
    if (r->route != NULL)
        slots_add(&worker_counters(r->route->series)->denied, 1);
}

void
count_rate_limited(const struct request *r)
{
    slots_add(&worker.row->total.rate_limited, 1);
    if (r->route != NULL)
        slots_add(&worker_counters(r->route->series)->rate_limited, 1);
}

void
count_regex_limit(const struct route *route)
{
    slots_add(&worker.row->total.regex_limits, 1);
    slots_add(&worker_counters(route->series)->regex_limits, 1);
}

static void
add_of_route(const struct request *r, size_t offset, uint64_t n)
{
    slots_add((uint64_t *)(void *)((char *)&worker.row->total + offset), n);
    if (r->route != NULL)
        slots_add((uint64_t *)(void *)((char *)worker_counters(r->route->series) + offset), n);
}

#define COUNT_OF_ROUTE(r, member, n) add_of_route(r, offsetof(struct slots_counters, member), n)

void
count_encoding(const struct request *r, unsigned coding)
{
    COUNT_OF_ROUTE(r, encodings[coding], 1);
}

void
count_decoding(const struct request *r, unsigned coding)
{
    COUNT_OF_ROUTE(r, decodings[coding], 1);
}

void
count_encoded_bytes(const struct request *r, uint64_t in, uint64_t out)
{
    COUNT_OF_ROUTE(r, encoded_in, in);
    COUNT_OF_ROUTE(r, encoded_out, out);
}

void
count_encoded(const struct request *r, unsigned coding)
{
    COUNT_OF_ROUTE(r, encoded[coding], 1);
}

void
count_coding_error(const struct request *r)
{
    COUNT_OF_ROUTE(r, coding_errors, 1);
}

void
count_coding_refused(const struct request *r)
{
    COUNT_OF_ROUTE(r, coding_refused, 1);
}

/* What happens to a server counts for its upstream too. */
static void
add_both(const struct server *s, size_t member, uint64_t n)
{
    slots_add((uint64_t *)((char *)worker_counters(s->series) + member), n);
    slots_add((uint64_t *)((char *)worker_counters(s->upstream->series) + member), n);
}

#define ADD_BOTH(s, member, n) add_both(s, offsetof(struct slots_counters, member), n)

void
count_server_opened(const struct server *s)
{
    ADD_BOTH(s, connections, 1);
    ADD_BOTH(s, open, 1);
}

void
count_server_closed(const struct server *s)
{
    ADD_BOTH(s, open, (uint64_t)-1);
}

void
count_server_reused(const struct server *s)
{
    ADD_BOTH(s, reused, 1);
}

void
count_server_retry(const struct server *s)
{
    ADD_BOTH(s, retries, 1);
}

void
count_server_ejection(const struct server *s)
{
    ADD_BOTH(s, ejections, 1);
}

void
count_queued(const struct upstream *u)
{
    slots_add(&worker_counters(u->series)->queued, 1);
}

void
count_queue_refused(const struct upstream *u)
{
    slots_add(&worker_counters(u->series)->queue_refused, 1);
}

void
count_unserved(const struct upstream *u)
{
    slots_add(&worker_counters(u->series)->unserved, 1);
}

void
count_retry_refused(const struct upstream *u)
{
    slots_add(&worker_counters(u->series)->retries_refused, 1);
}

void
count_server_error(const struct server *s, enum slots_error kind)
{
    add_both(s, offsetof(struct slots_counters, errors) + kind * sizeof(uint64_t), 1);
}

void
count_server_bytes(const struct server *s, uint64_t received, uint64_t sent)
{
    ADD_BOTH(s, bytes_received, received);
    ADD_BOTH(s, bytes_sent, sent);
}

void
count_server_request(const struct server *s, int status, int64_t us)
{
    add_request(worker_counters(s->series), status, 0, 0, (uint64_t)us);
    add_request(worker_counters(s->upstream->series), status, 0, 0, (uint64_t)us);
}
