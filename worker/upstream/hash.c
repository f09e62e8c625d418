/*
 * ip_hash and hash: rendezvous hashing. Each server's score for a key is a hash of both, weighted
 * (-weight / ln u, u uniform in (0, 1)); the highest wins. A server that leaves takes only its own keys with it,
 * and they spread over all others; the choice is the same in every worker and after a restart.
 *
 * With hash_balance a server that has more than that multiple of its share of the requests in flight is
 * passed over for the key's next choice.
 */
#include <math.h>

#include "worker/base/hash.h"
#include "worker/state.h"
#include "worker/template.h"
#include "worker/upstream/balance.h"

/* The same order as -weight / ln u, for one weight. */
static double
score(const struct endpoint *e, uint64_t key, bool same_weight)
{
    uint64_t h = hash_mix(key ^ e->hash);
    double u = ((double)(h >> 12) + 0.5) / (double)(UINT64_C(1) << 52);

    return same_weight ? u : -(double)e->server->weight / log(u);
}

static uint64_t
in_flight(const struct endpoint *e)
{
    return e->health != 0 ? health_in_flight(worker.health, e->health) : 0;
}

/* What one of weight 1 may have, in thousandths of a request; 0: anything. */
static uint64_t
most_per_weight(const struct candidates *c)
{
    uint64_t sum = 1, weight = 0;

    if (c->group->conf->hash_balance == 0)
        return 0;
    for (size_t i = 0; i < c->n; i++) {
        sum += in_flight(c->v[i]);
        weight += (uint64_t)c->v[i]->server->weight;
    }
    return (sum * (uint64_t)c->group->conf->hash_balance + weight - 1) / weight;
}

/* Rounded up, so that there is always one that is not. */
static bool
is_overloaded(const struct endpoint *e, uint64_t most)
{
    uint64_t own = (most * (uint64_t)e->server->weight + 999) / 1000;

    return most > 0 && in_flight(e) >= own;
}

static size_t
choose(const struct candidates *c, uint64_t key)
{
    uint64_t most = most_per_weight(c);
    double best_score = 0;
    size_t best = c->n;

    for (size_t i = 0; i < c->n; i++) {
        double s = score(c->v[i], key, c->group->same_weight);

        if ((best == c->n || s > best_score) && !is_overloaded(c->v[i], most)) {
            best = i;
            best_score = s;
        }
    }
    return best < c->n ? best : balance_least_conn(c, NULL);
}

size_t
balance_ip_hash(const struct candidates *c, struct request *r)
{
    const struct ip *ip = &r->client;
    size_t n = ip_network(ip);

    return n > 0 ? choose(c, hash_bytes(ip->b, n, 0)) : balance_round_robin(c, r);
}

/* Requests without a key would all go to one server: they take turns. */
size_t
balance_hash(const struct candidates *c, struct request *r)
{
    struct str key = template_expand(c->group->conf->hash_key, r);

    return key.n > 0 ? choose(c, hash_bytes(key.p, key.n, 0)) : balance_round_robin(c, r);
}
