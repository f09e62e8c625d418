/*
 * Knows who is counted and who is exempt. What is counted lies in this worker's row of the peers segment, and goes
 * with it should the worker die.
 */
#include "worker/peer.h"

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/state.h"

#define COMPLAIN_MS 60000

static void
complain(const struct ip *ip, uint32_t most)
{
    static int64_t last;
    char text[46];
    size_t n;

    if (last != 0 && clock_ms() - last < COMPLAIN_MS)
        return;
    last = clock_ms();
    n = ip_format(ip, text);
    log_warning("limits.connections_per_ip: %.*s has %u connections: more are closed", (int)n, text, (unsigned)most);
}

bool
peer_enter(const struct listener *l, const struct ip *ip, uint64_t *key)
{
    int64_t limit = worker.conf->scope.policy.limits.connections_per_ip;
    uint32_t most = limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX;
    uint64_t digest;
    bool counted;

    *key = 0;
    if (limit == 0 || ip->family == 0 || cidr_list_has(&worker.conf->trusted_proxies, ip))
        return true;
    digest = peers_digest(worker.peers, ip->b, ip_network(ip));
    if (peers_enter(worker.peers, worker.row_number, digest, most, &counted)) {
        *key = counted ? digest : 0;
        return true;
    }
    count_client_error(l, SLOTS_ERROR_LIMIT);
    complain(ip, most);
    return false;
}

void
peer_leave(uint64_t key)
{
    if (key != 0)
        peers_leave(worker.peers, worker.row_number, key);
}
