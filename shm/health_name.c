/*
 * Knows how addresses are published. A name has two texts, the one that its version points to and the one
 * that is written next, so nobody waits for a writer that was killed. A text says which version of which name it is,
 * and a keyed sum over all of it tells a reader that it was overwritten meanwhile.
 */
#include "shm/health_parts.h"

#include <string.h>

enum {
    TRIES = 4,
    WORDS = sizeof(struct health_text) / sizeof(uint64_t),
};
_Static_assert(WORDS * sizeof(uint64_t) == sizeof(struct health_text), "a text is whole words");
_Static_assert(offsetof(struct health_text, sum) == (WORDS - 1) * sizeof(uint64_t), "without padding");

static struct health_entry *
name_at(const struct health *h, unsigned name)
{
    return (struct health_entry *)(void *)(h->names.base + name * h->names.stride);
}

unsigned
health_find_name(struct health *h, const void *name, size_t n, uint64_t now_ms)
{
    return directory_find(&h->names, digest_make(&h->key, name, n, NULL, 0), now_ms);
}

void
health_stamp_name(struct health *h, unsigned name, uint64_t now_ms)
{
    directory_stamp(&h->names, name, now_ms);
}

/* Word by word: another process may be writing, or reading. */
static void
copy_out(struct health_text *to, const struct health_text *from)
{
    const uint64_t *f = (const uint64_t *)(const void *)from;
    uint64_t words[WORDS];
    size_t i;

    for (i = 0; i < WORDS; i++)
        words[i] = __atomic_load_n(&f[i], __ATOMIC_ACQUIRE);
    memcpy(to, words, sizeof(*to));
}

static void
copy_in(struct health_text *to, const struct health_text *from)
{
    uint64_t *t = (uint64_t *)(void *)to, words[WORDS];
    size_t i;

    memcpy(words, from, sizeof(words));
    for (i = 0; i < WORDS; i++)
        __atomic_store_n(&t[i], words[i], __ATOMIC_RELEASE);
}

static uint64_t
sum_of(const struct health *h, const struct health_text *text)
{
    return digest_make(&h->key, text, offsetof(struct health_text, sum), NULL, 0);
}

/* The text of that version, if it is whole and about that name. */
static bool
read_text(const struct health *h, unsigned name, uint64_t version, uint64_t digest, struct health_text *text)
{
    copy_out(text, &name_at(h, name)->text[version & 1]);
    return text->version == version && text->digest == digest && text->n <= HEALTH_ADDRESSES &&
           text->sum == sum_of(h, text);
}

/* After a takeover what is published is still about the former name: it counts as nothing. */
uint64_t
health_name_version(const struct health *h, unsigned name)
{
    uint64_t digest = directory_digest(&h->names, name), version;
    const struct health_entry *o;

    if (digest == 0)
        return 0;
    o = name_at(h, name);
    version = __atomic_load_n(&o->version, __ATOMIC_ACQUIRE);
    return version != 0 && __atomic_load_n(&o->text[version & 1].digest, __ATOMIC_RELAXED) == digest ? version : 0;
}

bool
health_read_name(const struct health *h, unsigned name, struct health_name *copy)
{
    uint64_t digest = directory_digest(&h->names, name), version;
    struct health_text text;
    unsigned i;

    memset(copy, 0, sizeof(*copy));
    for (i = 0; i < TRIES; i++) {
        version = health_name_version(h, name);
        if (version == 0)
            return false;
        if (!read_text(h, name, version, digest, &text))
            continue;
        *copy = (struct health_name){version, text.expires_ms, text.failures, text.n, {{0}}};
        memcpy(copy->v, text.v, text.n * sizeof(*text.v));
        return true;
    }
    return false;
}

/* Should a former holder of the lease write at the same time, what is mixed is written again. */
void
health_publish_name(struct health *h, unsigned name, const struct health_name *what)
{
    uint64_t digest = directory_digest(&h->names, name), former;
    struct health_text text = {.digest = digest, .expires_ms = what->expires_ms, .failures = what->failures}, seen;
    struct health_entry *o;
    unsigned i;

    if (digest == 0)
        return;
    o = name_at(h, name);
    text.n = what->n < HEALTH_ADDRESSES ? what->n : HEALTH_ADDRESSES;
    memcpy(text.v, what->v, text.n * sizeof(*text.v));
    for (i = 0; i < TRIES; i++) {
        former = __atomic_load_n(&o->version, __ATOMIC_ACQUIRE);
        text.version = former + 1;
        text.sum = sum_of(h, &text);
        copy_in(&o->text[text.version & 1], &text);
        if (!__atomic_compare_exchange_n(&o->version, &former, text.version, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            continue;
        if (read_text(h, name, text.version, digest, &seen))
            return;
    }
}
