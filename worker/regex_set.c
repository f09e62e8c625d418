/*
 * Facts of regexes, for up to 64 together. What a match begins with, and a byte that it has, are masks: in each table
 * a byte has a word with a bit for each regex that does not mind it, as has each number of slashes. Grams are hashed,
 * a regex's on a cache line of its own, and looked for among the hashes of all grams of the subject, which are
 * gathered once. Whatever is not known of a regex never rules it out, and where regexes are few there is nothing.
 *
 * A set of leading bytes is told by the two halves of a byte apart, which takes in a few bytes too many and a sixteenth
 * of the memory.
 */
#include "worker/regex_set.h"

#include <string.h>

#include "worker/regex_facts.h"

#define FEW 6                   /* regexes in a block: fewer cost less than a look */
#define SUBJECT_MOST 1024       /* longer ones are not looked at */
#define ALL UINT64_MAX
#define HASH_BITS 13
#define HASHES 31               /* of a regex's grams */
#define NO_BYTE 0               /* behind a gram of two */

/* At least one of the first `first` hashes is in a match, and of the `last` that follow them. None: 0. */
struct need {
    uint8_t first, last;
    uint16_t hash[HASHES];
};

struct block {
    uint64_t regexes;                       /* the other numbers have none */
    uint64_t low[FACTS_LEAD][16];
    uint64_t high[FACTS_LEAD][16];
    uint64_t long_enough[FACTS_LEAD];       /* for subjects of that many bytes */
    uint64_t slashes[FACTS_SLASHES + 1];    /* for subjects of that many, the last for more as well */
    uint64_t no_any;                        /* who needs no certain byte */
    uint64_t any[256];
    uint64_t needy;                         /* who has needs */
    struct need need[REGEX_SET_BLOCK] __attribute__((aligned(64)));
};

/* The grams of a subject. */
struct gathered {
    uint64_t bits[(1 << HASH_BITS) / 64];
};

struct regex_set {
    size_t count;               /* of blocks */
    struct block *blocks[];     /* NULL: few or no regexes */
};

/* Three bytes, the first one lowest; one of two has NO_BYTE behind it. */
static uint32_t
hash_of(uint32_t gram)
{
    return (gram | FACTS_FOLD * UINT32_C(0x010101)) * UINT32_C(0x9E3779B1) >> (32 - HASH_BITS);
}

/* Making */

static void
put_lead(struct block *b, const struct regex_facts *f, size_t at, uint64_t bit)
{
    for (unsigned byte = 0; byte < 256; byte++)
        if (byte_set_has(&f->lead[at], (unsigned char)byte)) {
            b->low[at][byte & 15] |= bit;
            b->high[at][byte >> 4] |= bit;
        }
}

static void
put_no_lead(struct block *b, size_t at, uint64_t bit)
{
    for (size_t half = 0; half < 16; half++) {
        b->low[at][half] |= bit;
        b->high[at][half] |= bit;
    }
}

/* The bytes of a set. */
static unsigned
list(const struct byte_set *s, unsigned char to[256])
{
    unsigned n = 0;

    for (unsigned byte = 0; byte < 256; byte++)
        if (byte_set_has(s, (unsigned char)byte))
            to[n++] = (unsigned char)byte;
    return n;
}

static uint32_t
gram_of(unsigned char a, unsigned char b, unsigned char c)
{
    return (uint32_t)a | (uint32_t)b << 8 | (uint32_t)c << 16;
}

static bool
put_hash(struct need *need, uint32_t gram, unsigned from, unsigned *to)
{
    uint16_t hash = (uint16_t)hash_of(gram);

    for (unsigned i = from; i < *to; i++)
        if (need->hash[i] == hash)
            return true;
    if (*to == HASHES)
        return false;
    need->hash[(*to)++] = hash;
    return true;
}

static bool
put_gram(struct need *need, const struct gram *g, unsigned from, unsigned *to)
{
    unsigned char bytes[FACTS_GRAM][256];
    unsigned n[FACTS_GRAM] = {1, 1, 1};

    bytes[2][0] = NO_BYTE;
    for (size_t i = 0; i < g->n; i++)
        n[i] = list(&g->of[i], bytes[i]);
    for (unsigned x = 0; x < n[0]; x++)
        for (unsigned y = 0; y < n[1]; y++)
            for (unsigned z = 0; z < n[2]; z++)
                if (!put_hash(need, gram_of(bytes[0][x], bytes[1][y], bytes[2][z]), from, to))
                    return false;
    return true;
}

/* Returns how many hashes they are; 0: none, or more than there is room for. */
static uint8_t
put_grams(struct need *need, const struct grams *grams, unsigned from)
{
    unsigned to = from;

    for (size_t i = 0; i < grams->n; i++)
        if (!put_gram(need, &grams->v[i], from, &to))
            return 0;
    return (uint8_t)(to - from);
}

static void
put_need(struct block *b, const struct regex_facts *f, uint64_t bit)
{
    struct need *need = &b->need[__builtin_ctzll(bit)];

    need->first = put_grams(need, &f->first, 0);
    need->last = put_grams(need, &f->last, need->first);
    b->needy |= need->first + need->last > 0 ? bit : 0;
}

static void
put_any(struct block *b, const struct regex_facts *f, uint64_t bit)
{
    uint64_t common = ALL;

    for (int i = 0; i < 4; i++)
        common &= f->any.bits[i];
    b->no_any |= common == ALL ? bit : 0;
    for (unsigned byte = 0; byte < 256; byte++)
        if (byte_set_has(&f->any, (unsigned char)byte))
            b->any[byte] |= bit;
}

/* Who has more is none of its. */
static void
put_slashes(struct block *b, unsigned most, uint64_t bit)
{
    for (unsigned i = 0; i <= most; i++)
        b->slashes[i] |= bit;
}

/*
 * Where a match may begin anywhere its first bytes say nothing of the subject's; where it may end anywhere, too, how
 * many slashes are in it says nothing of how many the subject has.
 */
static void
put_in(struct block *b, const struct regex *re, uint64_t bit)
{
    struct regex_facts f = {0};
    bool anchored = re != NULL && regex_anchored(re);
    size_t lead;

    b->regexes |= re != NULL ? bit : 0;
    if (re != NULL)
        regex_facts_read(regex_source(re), &f);
    else
        memset(&f.any, 0xFF, sizeof(f.any));
    lead = anchored ? f.lead_n : 0;
    for (size_t i = 0; i < FACTS_LEAD; i++) {
        if (i < lead)
            put_lead(b, &f, i, bit);
        else
            put_no_lead(b, i, bit);
        b->long_enough[i] |= lead <= i ? bit : 0;
    }
    put_slashes(b, anchored && f.ends ? f.slashes : FACTS_SLASHES, bit);
    put_need(b, &f, bit);
    put_any(b, &f, bit);
}

static void *
aligned(char *p)
{
    return p + (-(uintptr_t)p & 63);
}

static struct block *
block_new(const struct regex *const *regexes, size_t n, struct arena *a)
{
    struct block *b;
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += regexes[i] != NULL;
    if (count < FEW)
        return NULL;
    b = aligned(arena_zalloc(a, sizeof(*b) + 63));
    for (size_t i = 0; i < n; i++)
        put_in(b, regexes[i], UINT64_C(1) << i);
    return b;
}

struct regex_set *
regex_set_new(const struct regex *const *regexes, size_t n, struct arena *a)
{
    size_t count = (n + REGEX_SET_BLOCK - 1) / REGEX_SET_BLOCK, made = 0;
    struct regex_set *set = arena_zalloc(a, sizeof(*set) + count * sizeof(*set->blocks));

    set->count = count;
    for (size_t i = 0; i < count; i++) {
        size_t from = i * REGEX_SET_BLOCK, left = n - from;

        set->blocks[i] = block_new(regexes + from, left < REGEX_SET_BLOCK ? left : REGEX_SET_BLOCK, a);
        made += set->blocks[i] != NULL;
    }
    return made > 0 ? set : NULL;
}

/* Looking */

static uint64_t
look_at_lead(const struct block *b, struct str s)
{
    uint64_t may = s.n < FACTS_LEAD ? b->long_enough[s.n] : ALL;

    for (size_t i = 0; i < FACTS_LEAD && i < s.n; i++) {
        unsigned char byte = (unsigned char)s.p[i];

        may &= b->low[i][byte & 15] & b->high[i][byte >> 4];
    }
    return may;
}

static void
put_gathered(struct gathered *g, uint32_t hash)
{
    g->bits[hash / 64] |= UINT64_C(1) << hash % 64;
}

static bool
has_one(const struct gathered *g, const uint16_t *hash, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (g->bits[hash[i] / 64] >> hash[i] % 64 & 1)
            return true;
    return n == 0;
}

/*
 * Whether their bytes are there; all grams are gathered on the way. Before the subject there seem to be bytes of zero,
 * which are in some grams that it has not: that rules nothing out.
 */
static uint64_t
look_at_bytes(const struct block *b, struct str s, struct gathered *g)
{
    uint64_t may = b->no_any;
    size_t slashes = 0;
    uint32_t gram = 0;

    memset(g, 0, sizeof(*g));
    for (size_t i = 0; i < s.n; i++) {
        unsigned char byte = (unsigned char)s.p[i];

        may |= b->any[byte];
        slashes += byte == '/';
        gram = gram >> 8 | (uint32_t)byte << 16;
        put_gathered(g, hash_of(gram));
        put_gathered(g, hash_of(gram >> 8));
    }
    return may & b->slashes[slashes < FACTS_SLASHES ? slashes : FACTS_SLASHES];
}

static uint64_t
look_within(const struct block *b, struct str s, uint64_t may)
{
    struct gathered g;

    may &= look_at_bytes(b, s, &g);
    for (uint64_t left = may & b->needy; left != 0; left &= left - 1) {
        const struct need *need = &b->need[__builtin_ctzll(left)];

        if (!has_one(&g, need->hash, need->first) || !has_one(&g, need->hash + need->first, need->last))
            may &= ~(left & -left);
    }
    return may;
}

void
regex_scan_look(struct regex_scan *s, size_t block)
{
    const struct block *b = block < s->set->count ? s->set->blocks[block] : NULL;

    s->block = block;
    s->may = ALL;
    if (b == NULL || s->subject.n > SUBJECT_MOST)
        return;
    s->may = look_at_lead(b, s->subject);
    if ((s->may & b->regexes) != 0)
        s->may = look_within(b, s->subject, s->may);
}
