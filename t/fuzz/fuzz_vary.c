/*
 * Which requests are alike. Input is a line of Vary, one of No-Vary-Search, one of a query, and lines of a request's
 * fields. Names that are taken are within the bounds, and the same when they are read again; a rule's form of a query
 * is a query, and its own form; the same request elsewhere in memory has the same variant.
 */
#include "modules/cache_vary.h"
#include "modules/no_vary_search.h"
#include "t/fuzz/must.h"

static void
look_at_names(struct str names, struct arena *a)
{
    struct str list = names, name, last = STR(""), again;
    struct fields f;
    size_t n = 0;

    MUST(names.n <= VARY_BYTES_MOST);
    while (str_list_next(&list, &name)) {
        MUST(field_is_token(name) && !str_eq(name, STR("*")) && !str_eq(name, last));
        for (size_t i = 0; i < name.n; i++)
            MUST(name.p[i] < 'A' || name.p[i] > 'Z');
        last = name;
        n++;
    }
    MUST(n <= VARY_NAMES_MOST);
    fields_init(&f, a);
    fields_add(&f, STR("vary"), names);
    MUST(cache_vary_names(&f, a, &again) && str_eq(names, again));
}

static void
look_at_variant(struct str names, const struct fields *request, struct arena *a)
{
    cache_variant v = cache_vary_variant(names, request, a);
    struct fields copy;

    MUST((v == 0) == (names.n == 0) && (v == 0) == (CACHE_VARIANT_SPEC(v) == 0));
    fields_init(&copy, a);
    for (size_t i = 0; i < request->n; i++)
        fields_add(&copy, request->v[i].name, arena_copy(a, request->v[i].value));
    MUST(cache_vary_variant(names, &copy, a) == v);
}

static void
look_at_query(struct str rule, struct str query, struct arena *a)
{
    struct str got = no_vary_search_query(rule, query, a), plain;
    char *p;

    MUST(str_eq(no_vary_search_query(rule, got, a), got));
    if (rule.n == 0)
        MUST(str_eq(got, query));
    if (got.p == query.p || got.n == 0)
        return;
    MUST(got.p[0] == '?');
    for (size_t i = 1; i < got.n; i++)
        MUST(got.p[i] > 0x20 && got.p[i] < 0x7F && got.p[i] != '+' && got.p[i] != '#');
    /* what it does not decode makes no difference, so that a space may stand for any plus */
    plain = arena_copy(a, query);
    p = (char *)plain.p;
    for (size_t i = 0; i < plain.n; i++)
        if (p[i] == '+')
            p[i] = ' ';
    MUST(str_eq(no_vary_search_query(rule, plain, a), got));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str rest = {(const char *)data, n}, vary = str_cut(&rest, '\n'), search = str_cut(&rest, '\n');
    struct str query = str_cut(&rest, '\n'), names;
    struct arena *a = arena_new();
    struct fields response, request;

    fields_init(&response, a);
    fields_init(&request, a);
    fields_add(&response, STR("Vary"), arena_copy(a, str_trim(vary)));
    fields_add(&response, STR("No-Vary-Search"), arena_copy(a, str_trim(search)));
    while (rest.p != NULL) {
        struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');

        fields_add(&request, name, arena_copy(a, str_trim(value)));
    }
    if (cache_vary_names(&response, a, &names)) {
        look_at_names(names, a);
        look_at_variant(names, &request, a);
    }
    query = query.n > 0 ? arena_printf(a, "?%.*s", STR_ARG(query)) : STR("");
    look_at_query(no_vary_search_rule(&response, a), query, a);
    look_at_query(arena_copy(a, search), query, a);
    arena_free(a);
    return 0;
}
