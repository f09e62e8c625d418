/*
 * It alone knows what makes a retry safe: no byte of a response has gone out, and either the server was never
 * reached, or the method may be repeated (RFC 9110 9.2.2) and its content is still held. The budget is
 * asked last, so that only retries that take place are counted against it.
 */
#include "worker/upstream/retry.h"

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/state.h"
#include "worker/upstream/balance.h"

#define BUDGET_LEAST 3
#define AGAIN_MS 60000          /* until it is told again that the budget is used up */

static bool
is_safe(const struct request *r, enum retry_on on, bool content_whole)
{
    if (r->started || r->finished || r->interim_sent || r->tunnel || r->request.body.broken || !content_whole)
        return false;
    return on == RETRY_CONNECT || method_idempotent(r->method);
}

static void
remember(struct request *r, const struct endpoint *failed)
{
    if (r->tried_count < RETRIES_MOST)
        r->tried[r->tried_count++] = endpoint_number(failed);
}

struct endpoint *
retry_elsewhere(struct request *r, const struct endpoint *failed, enum retry_on on, bool content_whole)
{
    const struct retries *conf = &r->upstream->retry;
    struct group *g = upstream_group(r->upstream);
    struct endpoint *e;
    unsigned long more;

    if ((int64_t)r->tried_count >= conf->attempts || !(conf->on & on) || !is_safe(r, on, content_whole))
        return NULL;
    remember(r, failed);
    if (balance_choose(g, r, &e) != BALANCE_CHOSEN)
        return NULL;
    if (g->health != 0 && health_take_retry(worker.health, g->health, worker.row_number, (uint64_t)clock_ms(),
                                            (unsigned)conf->budget, BUDGET_LEAST)) {
        count_server_retry(e->server);
        return e;
    }
    balance_leave(e);
    count_retry_refused(r->upstream);
    if (log_due(&g->no_budget, clock_ms(), AGAIN_MS, &more))
        log_warning("upstream %.*s: retry.budget is used up: what a server failed is not sent to another (%lu before)",
                    STR_ARG(g->conf->name), more);
    return NULL;
}
