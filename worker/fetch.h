/*
 * The FETCH phase: from a route that proxies to a server and a source that talks to it.
 */
#ifndef WEIR_FETCH_H
#define WEIR_FETCH_H

#include "worker/request.h"

/*
 * Makes the request for the upstream: r->upstream and r->forward. HOOK_WAIT: its content is still being read.
 * HOOK_ANSWER: weir answers (Max-Forwards). A status: 508 where it goes in circles.
 */
int fetch_prepare(struct request *r);

/*
 * Finds a server for it. HOOK_WAIT: a source has the request, or it stands in line for a server and will be resumed.
 * Else a status: 503 where no server is up or too many stand in line, 502 where none could be asked.
 */
int fetch_start(struct request *r);

#endif
