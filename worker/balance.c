/*
 * Smooth weighted round robin: each server gains its weight, the richest is chosen and pays the sum.
 * Servers of weights 5, 1, 1 are so chosen a a b a c a a, not a a a a a b c.
 */
#include "worker/balance.h"

static int64_t *credit;         /* by a server's number in the file */

const struct server *
balance_choose(const struct upstream *u)
{
    const struct server *best = NULL;
    int64_t sum = 0;

    for (size_t i = 0; i < u->server_count; i++) {
        const struct server *s = &u->servers[i];
        int64_t *c = &credit[u->first_server + i];

        *c += s->weight;
        sum += s->weight;
        if (best == NULL || *c > credit[u->first_server + best->index])
            best = s;
    }
    credit[u->first_server + best->index] -= sum;
    return best;
}

void
balance_init(const struct conf *conf, unsigned first)
{
    credit = xcalloc(conf->server_count, sizeof *credit);
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct upstream *u = &conf->upstreams[i];

        for (unsigned n = first % (unsigned)u->server_count; n > 0; n--)
            balance_choose(u);
    }
}
