/*
 * Knows SipHash (Aumasson and Bernstein, 2012), with one round for each word and three at the end.
 */
#include "shm/digest.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

bool
digest_key_make(struct digest_key *key)
{
    ssize_t n = getrandom(key, sizeof(*key), 0);

    if (n >= 0 && n != (ssize_t)sizeof(*key))
        errno = EIO;
    return n == (ssize_t)sizeof(*key);
}

static uint64_t
rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static inline void
turn(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static inline void
take(struct digest *s, uint64_t word)
{
    s->v[3] ^= word;
    turn(s->v);
    s->v[0] ^= word;
}

void
digest_begin(struct digest *s, const struct digest_key *key)
{
    *s = (struct digest){
        .v = {key->k[0] ^ 0x736f6d6570736575, key->k[1] ^ 0x646f72616e646f6d, key->k[0] ^ 0x6c7967656e657261,
              key->k[1] ^ 0x7465646279746573},
    };
}

/* n bytes, up to 8, behind the `has` that are there: wherever in a word they come to stand. */
static void
append(struct digest *s, size_t has, uint64_t word, size_t n)
{
    s->word |= word << 8 * has;
    s->size += n;
    if (has + n < 8)
        return;
    take(s, s->word);
    s->word = has > 0 ? word >> 8 * (8 - has) : 0;
}

void
digest_add(struct digest *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    size_t has = s->size & 7;
    uint64_t word;

    for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        append(s, has, le64toh(word), sizeof(word));
    }
    word = 0;
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)p[i] << 8 * i;
    append(s, has, word, n);
}

uint64_t
digest_end(struct digest s)
{
    take(&s, s.word | s.size << 56);
    s.v[2] ^= 0xff;
    turn(s.v);
    turn(s.v);
    turn(s.v);
    return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}

void
digest_part(struct digest *s, const struct digest_key *key, const void *a, size_t n)
{
    digest_begin(s, key);
    take(s, n);
    digest_add(s, a, n);
}

uint64_t
digest_whole(const struct digest *part, const void *b, size_t m)
{
    struct digest s = *part;
    uint64_t digest;

    digest_add(&s, b, m);
    digest = digest_end(s);
    return digest != 0 ? digest : 1;
}

uint64_t
digest_make(const struct digest_key *key, const void *a, size_t n, const void *b, size_t m)
{
    struct digest part;

    digest_part(&part, key, a, n);
    return digest_whole(&part, b, m);
}
