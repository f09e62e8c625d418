/*
 * Digests that nobody can make collide: SHA-256 (FIPS 180-4) by OpenSSL, of which 128 bits are kept. For what is found
 * by its digest alone, in memory that all processes share, under names that clients choose. What only lies in a
 * table of this machine has shm/digest.h, which is faster.
 */
#ifndef WEIR_SHA_H
#define WEIR_SHA_H

#include <stddef.h>

#include "shm/cache.h"
#include "worker/base/str.h"

/*
 * Of n parts, in that order; where one ends and the next begins counts. The same in every process, and after a
 * restart. Allocates nothing.
 */
struct cache_key sha_key(const struct str *parts, size_t n);

#endif
