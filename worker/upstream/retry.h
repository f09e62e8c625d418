/*
 * Retries on another server: whether a request that one has failed may be sent to another, and to which.
 */
#ifndef WEIR_RETRY_H
#define WEIR_RETRY_H

#include "worker/request.h"
#include "worker/upstream/upstream.h"

/*
 * Source: the endpoint failed the request, in the way `on` says. Another that has taken it (one more in flight
 * there, as from balance_choose), or NULL: it is not to be retried, for what upstreams' `retry` says, for a byte
 * that was sent, for the budget, or because there is no other. `content_whole`: the request's content can be sent
 * again from its beginning. The endpoint's place is not given back here.
 */
struct endpoint *retry_elsewhere(struct request *r, const struct endpoint *failed, enum retry_on on,
                                 bool content_whole);

#endif
