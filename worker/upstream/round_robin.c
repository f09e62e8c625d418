/*
 * Smooth weighted round robin: each server gains its weight, the richest is chosen and pays the sum.
 * Servers of weights 5, 1, 1 are so chosen a a b a c a a, not a a a a a b c. The state is this worker's own.
 */
#include "worker/upstream/balance.h"

size_t
balance_round_robin(const struct candidates *c, struct request *r)
{
    int64_t sum = 0;
    size_t best = 0;

    (void)r;
    for (size_t i = 0; i < c->n; i++) {
        struct endpoint *e = c->v[i];
        int64_t gain = e->server->weight * endpoint_share(e, c->now_ms);

        e->credit += gain;
        sum += gain;
        if (e->credit > c->v[best]->credit)
            best = i;
    }
    c->v[best]->credit -= sum;
    return best;
}
