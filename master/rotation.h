/*
 * New keys for TLS session tickets, every twelve hours (shm/tickets.h). Runs in the master: workers only use them.
 */
#ifndef WEIR_ROTATION_H
#define WEIR_ROTATION_H

#include <stdbool.h>

#include "shm/tickets.h"

/* Makes a key where one is due by the wall clock. False: it was, and there is no randomness to be had. */
bool rotation_check(struct tickets *t);

#endif
