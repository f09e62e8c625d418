/*
 * The key tables of the core: weir.yaml as it can be written, but for what modules add. Each ends
 * with a name of NULL.
 */
#ifndef WEIR_KEYS_H
#define WEIR_KEYS_H

#include "worker/key.h"

extern const struct key keys_top[];         /* struct conf */
extern const struct key keys_policy[];      /* struct policy: at the top, in sites, in routes */
extern const struct key keys_site[];        /* struct site */
extern const struct key keys_route[];       /* struct route */

/* What is written for one of enum BALANCE_, and for each bit of enum retry_on; NULL at the end. */
extern const char *const keys_balance[];
extern const char *const keys_retry_on[];

/* What a key wants, in words that finish "`key` wants ..., not this". */
struct str keys_wants(const struct key *k, struct arena *a);

#endif
