/*
 * Digests: SipHash-1-3 with a key of the segment's own, so that whoever chooses the names (an address, a
 * field of a request) cannot aim at a place in a table. 64 bits: two names that share one are as good as never met.
 */
#ifndef WEIR_DIGEST_H
#define WEIR_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct digest_key {
    uint64_t k[2];
};

/* A random key. False with errno. */
bool digest_key_make(struct digest_key *key);

/* Of bytes that come one after the other. */
struct digest {
    uint64_t v[4];
    uint64_t word;              /* bytes that do not make a whole word yet */
    uint64_t size;              /* of all so far */
};

void digest_begin(struct digest *d, const struct digest_key *key);
void digest_add(struct digest *d, const void *bytes, size_t n);
/* What was added so far can go on: it is a copy that ends. */
uint64_t digest_end(struct digest d);

/* Of a name of two parts (either may be empty); never 0. Where one ends and the next begins counts. */
uint64_t digest_make(const struct digest_key *key, const void *a, size_t n, const void *b, size_t m);

/* The same, for many names whose first part is one: that part's, and with it each of them. */
void digest_part(struct digest *part, const struct digest_key *key, const void *a, size_t n);
uint64_t digest_whole(const struct digest *part, const void *b, size_t m);

#endif
