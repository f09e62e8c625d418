/*
 * Putting a configuration in force: at the start, by SIGHUP, and in the new master of an upgrade. Nothing
 * of the old one is given up before all workers of the new one accept.
 */
#ifndef WEIR_RELOAD_H
#define WEIR_RELOAD_H

#include <stdbool.h>

struct master;

/* Loads it, opens what it needs, has its workers started: m->coming. False, and told why, else. */
bool reload_begin(struct master *m);

/* m->coming accepts: it is m->current from now on, and the former drains. */
void reload_finish(struct master *m);

/* m->coming has failed: all is as before. */
void reload_abandon(struct master *m);

#endif
