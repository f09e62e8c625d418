/*
 * The better of two drawn at random, by weight: as good as least_conn for the look at two servers only,
 * and workers that decide at the same moment do not all run to the same one.
 */
#include "worker/base/random.h"
#include "worker/upstream/balance.h"

/* One in proportion to its weight, but for the one at `not`. */
static size_t
draw(const struct candidates *c, size_t not)
{
    uint64_t sum = 0, at;

    for (size_t i = 0; i < c->n; i++)
        if (i != not)
            sum += (uint64_t)(c->v[i]->server->weight * endpoint_share(c->v[i], c->now_ms));
    random_bytes(&at, sizeof(at));
    at %= sum;
    for (size_t i = 0; i < c->n; i++) {
        uint64_t weight = (uint64_t)(c->v[i]->server->weight * endpoint_share(c->v[i], c->now_ms));

        if (i == not)
            continue;
        if (at < weight)
            return i;
        at -= weight;
    }
    return not == 0;
}

size_t
balance_random_two(const struct candidates *c, struct request *r)
{
    size_t a = draw(c, c->n), b = draw(c, a);

    (void)r;
    return balance_less(c->v[b], c->v[a], c->now_ms) ? b : a;
}
