/*
 * Ranges of a stored response: input is a line with the length of the content (as far as it is a number), then lines of
 * Range. What is served lies within the content, no byte of it twice and none that was not asked for; a multipart
 * is as long as it says.
 */
#include "modules/cache_range.h"
#include "t/fuzz/must.h"

#define ASKED_MOST 4096

static void
look_at(const struct ranges *out, uint64_t length)
{
    uint64_t sum = out->after.n;

    MUST(out->n >= 1 && out->n <= RANGES_MOST);
    MUST((out->n > 1) == (out->type.n > 0) && (out->n > 1) == (out->after.n > 0));
    for (size_t i = 0; i < out->n; i++) {
        const struct range *r = &out->v[i];

        MUST(r->from < r->to && r->to <= length);
        MUST((out->n > 1) == (r->before.n > 0));
        for (size_t j = 0; j < i; j++)
            MUST(r->to <= out->v[j].from || out->v[j].to <= r->from);
        sum += r->before.n + (r->to - r->from);
    }
    MUST(sum == out->length);
}

/* Whether the byte is in one of those that were asked for, read in the most lenient way there is. */
static bool
was_asked_for(struct str set, uint64_t at, uint64_t length)
{
    struct str spec;

    while (str_list_next(&set, &spec)) {
        struct str first = str_cut(&spec, '-');
        long long from = str_decimal(first), to = str_decimal(spec);

        if (first.n == 0 && (to < 0 || (uint64_t)to >= length || at >= length - (uint64_t)to))
            return true;
        if (first.n > 0 && from >= 0 && (uint64_t)from <= at && (to < 0 || at <= (uint64_t)to))
            return true;
    }
    return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str rest = {(const char *)data, n}, first = str_cut(&rest, '\n'), set;
    long long given = str_decimal(first);
    uint64_t length = given >= 0 ? (uint64_t)given : 1000;
    struct arena *a = arena_new();
    struct fields f;
    struct ranges out;
    int status;

    fields_init(&f, a);
    while (rest.p != NULL)
        fields_add(&f, STR("Range"), arena_copy(a, str_trim(str_cut(&rest, '\n'))));
    status = cache_range_parse(&out, &f, length, n & 1 ? STR("a/b") : STR_NONE, a);
    MUST(status == 0 || status == 206 || status == 416);
    if (status == 206) {
        look_at(&out, length);
        set = f.v[0].value;
        str_cut(&set, '=');
        for (size_t i = 0; set.n < ASKED_MOST && i < out.n; i++)
            MUST(was_asked_for(set, out.v[i].from, length) && was_asked_for(set, out.v[i].to - 1, length));
        if (out.n == 1)
            MUST(str_starts(cache_range_value(&out, length, a), STR("bytes ")));
    }
    arena_free(a);
    return 0;
}
