/*
 * The FETCH phase: from a route that proxies to a server and a source that talks to it.
 */
#ifndef WEIR_FETCH_H
#define WEIR_FETCH_H

#include "worker/request.h"

/*
 * HOOK_WAIT: a source has the request, or its content is still being read. HOOK_ANSWER: weir answers
 * (Max-Forwards). Else a status: 508 where it goes in circles, 502 where no server could be asked.
 */
int fetch_start(struct request *r);

#endif
