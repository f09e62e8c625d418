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

static void
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

static void
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

/* Words at once, where they begin a new one. */
void
digest_add(struct digest *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t word;

    while (n > 0) {
        if ((s->size & 7) == 0 && n >= sizeof(word)) {
            memcpy(&word, p, sizeof(word));
            take(s, le64toh(word));
            s->size += sizeof(word);
            p += sizeof(word);
            n -= sizeof(word);
            continue;
        }
        s->word |= (uint64_t)*p << 8 * (s->size & 7);
        p++;
        n--;
        if ((++s->size & 7) == 0) {
            take(s, s->word);
            s->word = 0;
        }
    }
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

uint64_t
digest_make(const struct digest_key *key, const void *a, size_t n, const void *b, size_t m)
{
    struct digest s;
    uint64_t digest;

    digest_begin(&s, key);
    take(&s, n);
    digest_add(&s, a, n);
    digest_add(&s, b, m);
    digest = digest_end(s);
    return digest != 0 ? digest : 1;
}
