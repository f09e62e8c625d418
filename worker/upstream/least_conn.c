/*
 * The servers with the fewest requests in flight, in proportion to their weight, over all workers; those that are
 * equal, as all are while there is little to do, take turns by weight.
 */
#include "worker/upstream/balance.h"

size_t
balance_least_conn(const struct candidates *c, struct request *r)
{
    struct candidates least = {.group = c->group, .v = c->group->scratch, .now_ms = c->now_ms};
    const struct endpoint *best;

    for (size_t i = 0; i < c->n; i++) {
        if (least.n > 0 && balance_less(least.v[0], c->v[i], c->now_ms))
            continue;
        if (least.n > 0 && balance_less(c->v[i], least.v[0], c->now_ms))
            least.n = 0;
        least.v[least.n++] = c->v[i];
    }
    best = least.v[least.n == 1 ? 0 : balance_round_robin(&least, r)];
    for (size_t i = 0; i < c->n; i++)
        if (c->v[i] == best)
            return i;
    return 0;
}
