/*
 * Knows the distance: inserted, dropped, changed or swapped neighbouring letters, one each (optimal
 * string alignment). Letters compare without case.
 */
#include "worker/base/suggest.h"

#include <stdint.h>

#define LONGEST 48

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t
measure(struct str a, struct str b)
{
    uint8_t d[LONGEST + 1][LONGEST + 1];

    for (size_t i = 0; i <= a.n; i++)
        d[i][0] = (uint8_t)i;
    for (size_t j = 0; j <= b.n; j++)
        d[0][j] = (uint8_t)j;
    for (size_t i = 1; i <= a.n; i++)
        for (size_t j = 1; j <= b.n; j++) {
            char x = lower(a.p[i - 1]), y = lower(b.p[j - 1]);
            size_t best = least(d[i - 1][j] + 1u, d[i][j - 1] + 1u);

            best = least(best, d[i - 1][j - 1] + (x != y));
            if (i > 1 && j > 1 && x == lower(b.p[j - 2]) && y == lower(a.p[i - 2]))
                best = least(best, d[i - 2][j - 2] + 1u);
            d[i][j] = (uint8_t)best;
        }
    return d[a.n][b.n];
}

/* A third of its letters may be wrong, one of two; of a single letter nothing can be said. */
void
suggest_init(struct suggest *s, struct str word)
{
    *s = (struct suggest){.word = word, .distance = word.n > 2 ? word.n / 3 + 1 : word.n};
}

void
suggest_try(struct suggest *s, struct str candidate)
{
    size_t apart = candidate.n > s->word.n ? candidate.n - s->word.n : s->word.n - candidate.n;
    size_t distance;

    if (s->word.n > LONGEST || candidate.n > LONGEST || apart >= s->distance)
        return;
    distance = measure(s->word, candidate);
    if (distance < s->distance) {
        s->distance = distance;
        s->best = candidate;
    }
}

struct str
suggest_text(const struct suggest *s, struct arena *a)
{
    if (s->best.p == NULL)
        return STR("");
    return arena_printf(a, "; did you mean `%.*s`?", STR_ARG(s->best));
}
