/*
 * What a look at a subject rules out does not match: input is lines of a pattern and a subject. Whatever PCRE2
 * takes for a pattern is asked both ways.
 */
#include <stdint.h>
#include <string.h>

#include "t/fuzz/must.h"
#include "worker/regex_set.h"

#define REGEXES 8               /* so many that there is a set */

static void
compare(struct str pattern, struct str subject, struct arena *a)
{
    const struct regex *all[REGEXES];
    struct regex_scan scan;
    struct str why;
    size_t offset;

    for (size_t i = 0; i < REGEXES; i++) {
        all[i] = regex_compile(i == 3 ? pattern : STR("^/another/"), a, &why, &offset);
        if (all[i] == NULL)
            return;
    }
    regex_scan_start(&scan, regex_set_new(all, REGEXES, a), subject);
    for (size_t i = 0; i < REGEXES; i++)
        if (!regex_scan_may(&scan, i))
            MUST(regex_match(all[i], subject, NULL) != REGEX_YES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    struct arena *a;

    if (end == NULL)
        return 0;
    a = arena_new();
    /* of their own, so that a byte behind one would be found */
    compare(arena_copy(a, (struct str){(const char *)data, (size_t)(end - data)}),
            arena_copy(a, (struct str){(const char *)end + 1, size - (size_t)(end + 1 - data)}), a);
    arena_free(a);
    return 0;
}
