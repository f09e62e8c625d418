/*
 * Knows the table: an entry for each certificate, found by a digest of its digest (directory.h), with two texts: the
 * one that its version points to and the one that is written next, so nobody waits for a writer that was killed. A
 * text says which version of which certificate it is, and a keyed sum over all of it tells a reader that it was
 * overwritten meanwhile: by a former holder of the lease that slept, say.
 *
 * A place is the entry's number and a part of its digest, so that a place that somebody kept while its entry went to
 * another certificate is none any more.
 */
#include "shm/staples.h"

#include <errno.h>
#include <string.h>

#include "shm/digest.h"
#include "shm/directory.h"
#include "shm/segment.h"

enum {
    TRIES = 4,
    ENTRIES_MOST = UINT16_MAX,
    ENTRY_BITS = 16,
    UNIT_S = 12,                /* of the directory's stamps: it forgets after a week, not a minute */
};

struct text {                   /* whole words, without padding */
    uint64_t version;
    uint64_t digest;            /* of the certificate that it is about */
    int64_t until_s;
    uint64_t n;
    uint64_t sum;               /* over what stands before, and over n bytes */
    unsigned char der[STAPLES_MOST];
};
_Static_assert(sizeof(struct text) == 5 * sizeof(uint64_t) + STAPLES_MOST, "without padding");

struct entry {
    struct pair id;
    uint64_t version;
    struct text text[2];        /* by the version's last bit */
} __attribute__((aligned(64)));

struct head {
    struct segment_head segment;
    uint32_t entries;
    struct digest_key key;
};

struct staples {
    struct segment segment;
    struct directory directory;
    struct digest_key key;
};

static const struct segment_kind frame = {
    .name = "weirstap",
    .version = 1,
    .layout = SEGMENT_LAYOUT(sizeof(struct entry), sizeof(struct head), 0),
    .owner = sizeof(struct staples),
    .head = sizeof(struct head),
};

/* Layout */

static size_t
size_of(uint32_t entries)
{
    return segment_pages(sizeof(struct head)) + segment_pages((entries + (size_t)1) * sizeof(struct entry));
}

static void
find_parts(struct staples *s, uint32_t entries)
{
    s->directory = (struct directory){
        .base = (char *)s->segment.base + segment_pages(sizeof(struct head)),
        .stride = sizeof(struct entry),
        .count = entries,
    };
}

struct staples *
staples_create(unsigned certificates)
{
    uint32_t entries = certificates < ENTRIES_MOST ? certificates : ENTRIES_MOST;
    struct digest_key key;
    struct staples *s;
    struct head *head;

    if (!digest_key_make(&key) || (s = segment_make(&frame, size_of(entries))) == NULL)
        return NULL;
    find_parts(s, entries);
    head = s->segment.base;
    head->entries = entries;
    head->key = s->key = key;
    return s;
}

static bool
understand(void *owner, unsigned rows)
{
    struct staples *s = owner;
    const struct head *head = s->segment.base;
    uint32_t entries = __atomic_load_n(&head->entries, __ATOMIC_RELAXED);

    (void)rows;
    if (entries > ENTRIES_MOST || size_of(entries) != s->segment.size)
        return false;
    find_parts(s, entries);
    s->key = head->key;
    return true;
}

struct staples *
staples_attach(int fd)
{
    return segment_take(&frame, fd, understand, 0);
}

bool
staples_fits(const struct staples *s, unsigned certificates)
{
    return (certificates < ENTRIES_MOST ? certificates : ENTRIES_MOST) <= s->directory.count;
}

int
staples_fd(const struct staples *s)
{
    return s->segment.fd;
}

void
staples_detach(struct staples *s)
{
    segment_end(s);
}

/* Places */

static unsigned
tag(uint64_t digest)
{
    return (unsigned)(digest & UINT16_MAX);
}

unsigned
staples_place(struct staples *s, const unsigned char digest[32], int64_t now_s)
{
    uint64_t name = digest_make(&s->key, digest, 32, NULL, 0);
    unsigned entry = directory_find(&s->directory, name, (uint64_t)(now_s > 0 ? now_s / UNIT_S : 0));

    return entry != 0 ? tag(name) << ENTRY_BITS | entry : 0;
}

/* The entry, and whose it is; NULL: it is another's, or none. */
static struct entry *
entry_at(const struct staples *s, unsigned place, uint64_t *digest)
{
    unsigned entry = place & UINT16_MAX;

    *digest = directory_digest(&s->directory, entry);
    if (*digest == 0 || tag(*digest) != place >> ENTRY_BITS)
        return NULL;
    return (struct entry *)(void *)(s->directory.base + entry * s->directory.stride);
}

/* Texts. Word by word: another process may be writing, or reading. */

static size_t
words(uint64_t n)
{
    return (offsetof(struct text, der) + (size_t)n + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

static void
copy_out(struct text *to, const struct text *from, size_t first, size_t end)
{
    const uint64_t *f = (const uint64_t *)(const void *)from;
    uint64_t *t = (uint64_t *)(void *)to;

    for (size_t i = first; i < end; i++)
        t[i] = __atomic_load_n(&f[i], __ATOMIC_ACQUIRE);
}

static void
copy_in(struct text *to, const struct text *from)
{
    const uint64_t *f = (const uint64_t *)(const void *)from;
    uint64_t *t = (uint64_t *)(void *)to;
    size_t n = words(from->n);

    for (size_t i = 0; i < n; i++)
        __atomic_store_n(&t[i], f[i], __ATOMIC_RELEASE);
}

static uint64_t
sum_of(const struct staples *s, const struct text *text)
{
    return digest_make(&s->key, text, offsetof(struct text, sum), text->der, (size_t)text->n);
}

/* The text of that version, if it is whole and about that certificate. */
static bool
read_text(const struct staples *s, const struct entry *o, uint64_t version, uint64_t digest, struct text *text)
{
    copy_out(text, &o->text[version & 1], 0, words(0));
    if (text->version != version || text->digest != digest || text->n > STAPLES_MOST)
        return false;
    copy_out(text, &o->text[version & 1], words(0), words(text->n));
    return text->sum == sum_of(s, text);
}

/* What stands there; false: nothing. */
static bool
take(const struct staples *s, unsigned place, struct text *text)
{
    uint64_t digest, version;
    const struct entry *o = entry_at(s, place, &digest);

    for (unsigned i = 0; o != NULL && i < TRIES; i++) {
        version = __atomic_load_n(&o->version, __ATOMIC_ACQUIRE);
        if (version == 0)
            return false;
        if (read_text(s, o, version, digest, text))
            return text->n > 0;
    }
    return false;
}

size_t
staples_get(const struct staples *s, unsigned place, int64_t now_s, unsigned char der[STAPLES_MOST])
{
    struct text text;

    if (!take(s, place, &text) || text.until_s <= now_s)
        return 0;
    memcpy(der, text.der, (size_t)text.n);
    return (size_t)text.n;
}

int64_t
staples_until(const struct staples *s, unsigned place)
{
    struct text text;

    return take(s, place, &text) ? text.until_s : 0;
}

/* Should a former holder of the lease write at the same time, what is mixed is written again. */
void
staples_put(struct staples *s, unsigned place, const void *der, size_t n, int64_t until_s)
{
    struct text text = {.until_s = until_s, .n = n}, seen;
    struct entry *o = entry_at(s, place, &text.digest);
    uint64_t former;

    if (o == NULL || n > STAPLES_MOST)
        return;
    if (n > 0)
        memcpy(text.der, der, n);
    for (unsigned i = 0; i < TRIES; i++) {
        former = __atomic_load_n(&o->version, __ATOMIC_ACQUIRE);
        text.version = former + 1;
        text.sum = sum_of(s, &text);
        copy_in(&o->text[text.version & 1], &text);
        if (!__atomic_compare_exchange_n(&o->version, &former, text.version, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            continue;
        if (read_text(s, o, text.version, text.digest, &seen))
            return;
    }
}
