/*
 * A new connection to a server, until HTTP can be spoken on it: socket, connect, TLS handshake with verification, ALPN.
 * Whoever dials owns the channel, its timer and its end; health checks dial as requests do. Runs in the worker.
 */
#ifndef WEIR_DIAL_H
#define WEIR_DIAL_H

#include "worker/channel.h"
#include "worker/upstream/upstream.h"

enum dial_step { DIAL_WAIT, DIAL_DONE, DIAL_FAILED };

/*
 * Begins: ch->io.ready is set already; the channel is on the loop afterwards. False with errno, and nothing is open:
 * not even a socket can be had, or the address is refused at once.
 */
bool dial_begin(struct channel *ch, struct endpoint *e);

/*
 * Goes on, whenever ch->io.ready is called, until it is done or has failed: *why then says so in a few words, good
 * until the next call ("connection refused", "certificate verify failed: ..."); *ours: the trouble is this machine's,
 * and says nothing about the server. The caller closes the channel of one that has failed.
 */
enum dial_step dial_go_on(struct channel *ch, struct endpoint *e, const char **why, bool *ours);

/* The dialler's time is over before it is done: counts that, and says what it was at. */
const char *dial_expire(const struct channel *ch, const struct endpoint *e);

/* Why the last read or write on the channel has failed, good until the next call. Ask at once. */
const char *dial_lost(const struct channel *ch);

/* An errno in the words of `why`, good until the next call. */
const char *dial_error(int error);

/* Whether the trouble of an errno is ours: no descriptors, no memory, no ports. */
bool dial_is_ours(int error);

#endif
