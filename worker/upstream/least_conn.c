/*
 * The server with the fewest requests in flight, in proportion to its weight, over all workers. The
 * look begins at another one each time, so that equal ones take turns.
 */
#include "worker/upstream/balance.h"

size_t
balance_least_conn(const struct candidates *c, struct request *r)
{
    size_t first = c->group->turn++ % c->n, best = first;

    (void)r;
    for (size_t i = 1; i < c->n; i++) {
        size_t at = (first + i) % c->n;

        if (balance_less(c->v[at], c->v[best], c->now_ms))
            best = at;
    }
    return best;
}
