/*
 * Preconditions: input is a line each of what is stored (ETag, Last-Modified, Date), then lines of the request. A
 * client that sends back what is stored is told that it has it; one with a strong tag may go on from there.
 */
#include "modules/cache_conditional.h"
#include "t/fuzz/must.h"

static struct str
line(struct str *rest, struct arena *a)
{
    struct str s = str_trim(str_cut(rest, '\n'));

    return s.n > 0 ? arena_copy(a, s) : STR_NONE;
}

static void
send_back(const struct validators *v, struct arena *a)
{
    struct fields forward, range;
    bool strong = v->etag.n > 0 && v->etag.p[0] == '"';

    fields_init(&forward, a);
    if (!cache_conditional_add(&forward, v)) {
        MUST(forward.n == 0);
        return;
    }
    MUST(cache_conditional_status(&forward, v) == 304);
    MUST(!cache_conditional_is_origins(&forward) && cache_conditional_range(&forward, v));
    if (fields_find(&forward, STR("If-None-Match")) == NULL)
        return;
    fields_init(&range, a);
    fields_add(&range, STR("If-Range"), v->etag);
    MUST(cache_conditional_range(&range, v) == strong);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str rest = {(const char *)data, n};
    struct arena *a = arena_new();
    struct validators v = {.etag = line(&rest, a)};
    struct fields f;
    int status;

    v.last_modified = line(&rest, a);
    v.date = line(&rest, a);
    fields_init(&f, a);
    while (rest.p != NULL) {
        struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');

        fields_add(&f, name, arena_copy(a, str_trim(value)));
    }
    status = cache_conditional_status(&f, &v);
    MUST(status == 0 || status == 304);
    if (status == 304)
        MUST(fields_find(&f, STR("If-None-Match")) != NULL || fields_find(&f, STR("If-Modified-Since")) != NULL);
    if (!cache_conditional_range(&f, &v))
        MUST(fields_find(&f, STR("If-Range")) != NULL);
    send_back(&v, a);
    arena_free(a);
    return 0;
}
