/*
 * A hash of bytes that is the same in every process and after a restart, for choices that have to stay:
 * which server a key goes to. For tables too, but for those that an adversary fills.
 */
#ifndef WEIR_HASH_H
#define WEIR_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Spreads every bit of x over all bits: no two x give the same. */
static inline uint64_t
hash_mix(uint64_t x)
{
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

/* FNV-1a, for who meets the bytes in an order of their own: it begins with HASH_START. */
#define HASH_START UINT64_C(0xcbf29ce484222325)

static inline uint64_t
hash_step(uint64_t h, char c)
{
    return (h ^ (unsigned char)c) * UINT64_C(0x100000001b3);
}

static inline uint64_t
hash_bytes(const void *bytes, size_t n, uint64_t seed)
{
    const char *p = bytes;
    uint64_t h = HASH_START ^ seed;

    for (size_t i = 0; i < n; i++)
        h = hash_step(h, p[i]);
    return hash_mix(h ^ n);
}

#endif
