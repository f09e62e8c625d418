/*
 * Who really asks, and what the origin is told of it: X-Forwarded-*, Forwarded (RFC 7239), Via
 * (RFC 9110 7.6.3) and X-Request-ID. What a client says of itself counts only where its connection
 * comes from one of trusted_proxies.
 */
#ifndef WEIR_FORWARDED_H
#define WEIR_FORWARDED_H

#include <stdbool.h>

#include "worker/request.h"

/* READ: sets r->peer_trusted, client, https and id. */
void forwarded_trust(struct request *r);

/* FETCH: appends the fields to r->forward. */
void forwarded_add(struct request *r);

/*
 * FETCH, for what others will be answered with: of what r->forward says of the client, Host and scheme only what weir
 * knows itself, and $client_ip; nothing that a trusted proxy may have passed on unseen.
 */
void forwarded_alone(struct request *r);

/*
 * Whether a field of a request is one that weir itself sets, or one whose `_` an origin could read as `-`
 * and so take for one of these, or for another that weir knows (Content_Length): such a field of the
 * client's is not passed on. The other X-Forwarded-* (Port, Prefix, ...) are passed on where they come
 * from a trusted proxy.
 */
bool forwarded_is_ours(const struct request *r, const struct field *f);

/* Whether weir's own name stands in Via more than eight times: the request goes in circles. */
bool forwarded_loops(const struct request *r);

#endif
