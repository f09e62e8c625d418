/*
 * What a client takes. Input is lines of Accept-Encoding, any bytes. Weights are thousandths, and of what can't be read
 * nothing is left but identity; the best of what is offered is acceptable, nothing offered is liked better; the same
 * as one line, or said twice, comes to the same; with one more refusal nothing is liked better.
 */
#include <stdlib.h>
#include <string.h>

#include "modules/accept_encoding.h"
#include "t/fuzz/must.h"

#define MEMBERS_MOST 64

static const enum coding orders[][3] = {
    {CODING_ZSTD, CODING_BR, CODING_GZIP}, {CODING_GZIP, CODING_BR, CODING_ZSTD},
    {CODING_BR, CODING_ZSTD, CODING_GZIP},
};

static void
look_at_best(const struct accepted *a, const enum coding *offered, size_t n)
{
    enum coding best = accept_encoding_best(a, offered, n);
    uint16_t identity = a->weight[CODING_IDENTITY];
    bool found = best == CODING_IDENTITY || best == CODINGS, before = true;

    MUST(best == CODINGS || a->weight[best] > 0);
    MUST(best != CODINGS || identity == 0);
    if (best == CODING_IDENTITY)
        for (size_t i = 0; i < n; i++)
            MUST(a->weight[offered[i]] == 0 || (a->identity_named && identity > a->weight[offered[i]]));
    for (size_t i = 0; i < n; i++) {
        uint16_t w = a->weight[offered[i]];

        if (offered[i] == best) {
            found = true;
            before = false;
        }
        if (best == CODINGS)
            MUST(w == 0);
        else if (best != CODING_IDENTITY)
            MUST(before ? w < a->weight[best] : w <= a->weight[best]);
    }
    MUST(found);
    if (best != CODINGS && best != CODING_IDENTITY)
        MUST(!a->identity_named || identity <= a->weight[best]);
}

static bool
same(const struct accepted *a, const struct accepted *b)
{
    return memcmp(a->weight, b->weight, sizeof(a->weight)) == 0 && a->identity_named == b->identity_named;
}

/* How many members, and whether all can be read. */
static bool
count(struct str list, size_t *members)
{
    struct str member, name;
    int weight;

    while (str_list_next(&list, &member)) {
        ++*members;
        if (!accept_encoding_member(member, &name, &weight))
            return false;
        MUST(field_is_token(name) && weight >= 0 && weight <= 1000);
    }
    return true;
}

static void
look_at(const struct accepted *a, const struct fields *f, struct arena *arena)
{
    struct fields twice;
    struct str joined = STR("");
    struct accepted again;
    size_t members = 0;
    bool sound = true;

    for (size_t i = 0; i < f->n; i++)
        sound = sound && count(f->v[i].value, &members);
    sound = sound && members > 0 && members <= MEMBERS_MOST;
    for (size_t c = 0; c < CODINGS; c++) {
        MUST(a->weight[c] <= 1000);
        MUST(sound || a->weight[c] == (c == CODING_IDENTITY ? 1000 : 0));
    }
    MUST(sound || !a->identity_named);
    for (size_t i = 0; sound && i < f->n; i++)
        joined = arena_printf(arena, "%.*s,%.*s", STR_ARG(joined), STR_ARG(f->v[i].value));
    fields_init(&twice, arena);
    fields_add(&twice, STR("accept-encoding"), joined);
    accept_encoding(&twice, &again);
    MUST(!sound || same(a, &again));
    fields_add(&twice, STR("Accept-Encoding"), joined);
    accept_encoding(&twice, &again);
    MUST(!sound || 2 * members > MEMBERS_MOST || same(a, &again));
    fields_add(&twice, STR("Accept-Encoding"), STR("*;q=0"));
    accept_encoding(&twice, &again);
    for (size_t c = 1; sound && c < CODINGS; c++)
        MUST(again.weight[c] <= a->weight[c]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str rest = {(const char *)data, n};
    struct arena *arena = arena_new();
    struct accepted a;
    struct fields f;

    fields_init(&f, arena);
    do {
        struct str line = str_cut(&rest, '\n');
        char *copy = malloc(line.n > 0 ? line.n : 1);

        /* a copy of its own, so that whoever reads past its end is seen */
        if (line.n > 0)
            memcpy(copy, line.p, line.n);
        arena_cleanup(arena, free, copy);
        fields_add(&f, STR("Accept-Encoding"), str_trim((struct str){copy, line.n}));
    } while (rest.p != NULL);
    accept_encoding(&f, &a);
    look_at(&a, &f, arena);
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
        for (size_t k = 0; k <= 3; k++)
            look_at_best(&a, orders[i], k);
    arena_free(arena);
    return 0;
}
