/*
 * A set of networks, looked up by address: a path-compressed binary radix tree for each family. A
 * lookup visits at most one node for each bit of an address and one more, however many networks there are.
 */
#ifndef WEIR_RADIX_H
#define WEIR_RADIX_H

#include "worker/base/addr.h"
#include "worker/base/arena.h"

struct radix;

/* An empty one; it and its nodes live in the arena. */
struct radix *radix_new(struct arena *a);

/* The network itself is kept by pointer. Of two that are the same the first stays. */
void radix_add(struct radix *t, const struct cidr *c, struct arena *a);

/*
 * The longest of the networks that have the address, or NULL. `visited`, where it isn't NULL, is set to how
 * many nodes were looked at.
 */
const struct cidr *radix_find(const struct radix *t, const struct ip *ip, unsigned *visited);

#endif
