/*
 * Knows which series has which name: the directory, an entry for each by its number, and the index, a hash table
 * of numbers, open addressing, at most half full.
 */
#include <string.h>

#include "shm/slots_parts.h"

unsigned
slots_used(const struct slots *s)
{
    unsigned n = __atomic_load_n(&s->head->used, __ATOMIC_ACQUIRE);

    return n < s->series ? n : s->series - 1;
}

/* FNV-1a, 128 bits: names come from the configuration's author, not from an adversary. */
static void
digest(uint64_t out[2], enum slots_kind kind, const void *name, size_t n)
{
    const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
    unsigned __int128 h = ((unsigned __int128)0x6c62272e07bb0142u << 64) + 0x62b821756295c58du;
    const unsigned char *p = name;
    size_t i;

    h = (h ^ (unsigned)kind) * prime;
    for (i = 0; i < n; i++)
        h = (h ^ p[i]) * prime;
    out[0] = (uint64_t)(h >> 64);
    out[1] = (uint64_t)h | 1;                   /* never all zeros */
}

static bool
is_free(const struct slots_entry *e)
{
    return e->digest[1] == 0;
}

/* The place in the index that holds the digest, or the free one where it belongs; NULL: a broken index. */
static uint32_t *
seek(struct slots *s, const uint64_t d[2])
{
    uint32_t i, n;

    for (i = (uint32_t)d[0] & s->mask, n = 0; n <= s->mask; i = (i + 1) & s->mask, n++) {
        uint32_t series = s->index[i];

        if (series == 0)
            return &s->index[i];
        if (series < s->series && s->entry[series].digest[0] == d[0] && s->entry[series].digest[1] == d[1])
            return &s->index[i];
    }
    return NULL;
}

static void
rebuild(struct slots *s)
{
    uint32_t i, *place;

    memset(s->index, 0, ((size_t)s->mask + 1) * sizeof(*s->index));
    for (i = 1; i <= slots_used(s); i++) {
        if (is_free(&s->entry[i]))
            continue;
        place = seek(s, s->entry[i].digest);
        if (place != NULL)
            *place = i;
    }
}

static void
forget(struct slots *s, unsigned series)
{
    unsigned row;

    for (row = 0; row <= s->rows; row++) {
        if (row == 0 || slots_owner(s, row) != 0)
            memset(slots_counters(s, row, series), 0, sizeof(struct slots_counters));
    }
    s->entry[series] = (struct slots_entry){0};
}

/* A series nobody has: never used, or freed, or else one that no living generation knows. */
static unsigned
unused(struct slots *s, unsigned oldest)
{
    unsigned i, n = slots_used(s), found = 0;

    if (n + 1 < s->series) {
        __atomic_store_n(&s->head->used, n + 1, __ATOMIC_RELEASE);
        return n + 1;
    }
    for (i = 1; i <= n; i++) {
        if (is_free(&s->entry[i]))
            return i;
    }
    for (i = 1; i <= n; i++) {
        if (s->entry[i].generation < oldest) {
            forget(s, i);
            found = i;
        }
    }
    if (found != 0)
        rebuild(s);
    return found;
}

unsigned
slots_series(struct slots *s, enum slots_kind kind, const void *name, size_t n, unsigned generation, unsigned oldest)
{
    uint64_t d[2];
    uint32_t *place;
    unsigned series;

    digest(d, kind, name, n);
    place = seek(s, d);
    if (place == NULL)
        return SLOTS_SERIES_NONE;
    if (*place == 0) {
        series = unused(s, oldest);
        place = seek(s, d);                     /* the index may have been made anew */
        if (series == 0 || place == NULL)
            return SLOTS_SERIES_NONE;
        memcpy(s->entry[series].digest, d, sizeof(d));
        *place = series;
    }
    s->entry[*place].generation = generation;
    return *place;
}
