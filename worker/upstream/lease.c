/*
 * The lease as one worker sees it: whether it is ours, and what starts and stops with it. A worker whose
 * configuration has neither checks nor names, nor certificates whose state is asked for, never asks for it.
 */
#include "worker/upstream/lease.h"

#include "worker/base/clock.h"
#include "worker/state.h"
#include "worker/tls/ocsp.h"
#include "worker/upstream/probe.h"
#include "worker/upstream/resolve.h"

#define RENEW_MS 200            /* health.h asks for 250 */

static struct timer renewal;
static bool ours;

static void
have(bool now)
{
    if (now == ours)
        return;
    ours = now;
    if (ours) {
        resolve_start();
        probe_start();
        ocsp_start();
    } else {
        ocsp_stop();
        probe_stop();
        resolve_stop();
    }
}

static void
renew(struct timer *t)
{
    timer_set(t, RENEW_MS);
    have(health_lease(worker.health, worker.row_number, worker.generation, (uint64_t)clock_ms()));
}

static bool
is_of_use(const struct conf *conf)
{
    for (size_t i = 0; i < conf->upstream_count; i++) {
        const struct upstream *u = &conf->upstreams[i];

        if (u->health.interval > 0)
            return true;
        for (size_t j = 0; j < u->server_count; j++)
            if (u->servers[j].name.n > 0)
                return true;
    }
    return ocsp_is_of_use(conf);
}

void
lease_init(void)
{
    if (!is_of_use(worker.conf))
        return;
    renewal.fire = renew;
    renew(&renewal);
}

void
lease_end(void)
{
    timer_stop(&renewal);
    have(false);
    health_lease_end(worker.health, worker.row_number);
}
