/*
 * Balancing: which server of an upstream gets the next request. State is this worker's own.
 */
#ifndef WEIR_BALANCE_H
#define WEIR_BALANCE_H

#include "worker/request.h"

/* `first`: where the round begins, so that workers don't all begin at the same server. */
void balance_init(const struct conf *conf, unsigned first);

/* Never NULL: an upstream has a server. */
const struct server *balance_choose(const struct upstream *u);

#endif
