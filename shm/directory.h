/*
 * Directories: which entry of a table belongs to a name, the same for all processes; no locks. A table
 * has entries 1 to `count`, each of which begins with a struct pair: the digest of its name and when
 * somebody last said that it is in use. Nothing is ever taken out; where it is crowded an entry
 * goes to another name once nobody has stamped it for a minute.
 */
#ifndef WEIR_DIRECTORY_H
#define WEIR_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/pair.h"

#define DIRECTORY_STALE_MS (60 * 1000)

struct directory {
    char *base;                 /* of entry 0, which nobody has */
    size_t stride;
    uint32_t count;
    /* Whether the entry must not go to another name; clears what the former name left. Both may be NULL. */
    bool (*in_use)(void *owner, unsigned entry);
    void (*clear)(void *owner, unsigned entry);
    void *owner;
};

/* The entry of that digest (never 0), stamped; made if need be. 0: no room. */
unsigned directory_find(const struct directory *d, uint64_t digest, uint64_t now_ms);

/* What the entry is stamped with, where that is not young anyway. */
void directory_stamp(const struct directory *d, unsigned entry, uint64_t now_ms);

/* Its digest; 0: free, or no entry. */
uint64_t directory_digest(const struct directory *d, unsigned entry);

#endif
