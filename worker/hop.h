/*
 * What belongs to one connection only (RFC 9110 7.6.1) stays on it: hop-by-hop fields, whatever
 * Connection names, and framing, which weir says anew on each side.
 */
#ifndef WEIR_HOP_H
#define WEIR_HOP_H

#include "worker/request.h"

/* FETCH: r->forward, the fields for the upstream, from r->request.fields and what weir sets. */
void hop_forward(struct request *r);

/* The target as the upstream gets it (RFC 9112 3.2.1), and whether the length of its content is announced. */
void hop_target(const struct request *r, struct str *path, struct str *query);
bool hop_announces(const struct request *r);

/* Source: takes out of a response's fields what does not go on to the client. */
void hop_response(struct fields *f);

/* Whether Connection names a field of the message that is none of one connection: it is taken away on the way. */
bool hop_names(const struct fields *f);

/*
 * Whether a trailer field of the message may be relayed (RFC 9110 6.5.1, 7.6.1): not what frames, routes
 * or authenticates, nor what the message's Connection names.
 */
bool hop_trailer(const struct request *r, const struct message *m, const struct field *f);

/* The request is one for a WebSocket and nothing else (RFC 6455 4.1); sets r->wants_upgrade. */
void hop_upgrade(struct request *r);

#endif
