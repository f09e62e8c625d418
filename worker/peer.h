/*
 * limits.connections_per_ip: each client's address is counted over all workers. Exempt are trusted proxies, behind
 * which there are many, and peers on unix sockets.
 */
#ifndef WEIR_PEER_H
#define WEIR_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/conf.h"

/*
 * A connection of that address: false where it is one too many, which is counted as an error and logged; the
 * caller closes it without an answer. Else *key is what peer_leave takes at its end; 0: not counted.
 */
bool peer_enter(const struct listener *l, const struct ip *ip, uint64_t *key);
void peer_leave(uint64_t key);

#endif
