/* What a member of Cache-Status says (RFC 9211 2), that it stands last, and that it is counted once. */
#include <check.h>

#include "modules/cache_status.h"
#include "shm/slots.h"
#include "t/unit/unit.h"
#include "worker/state.h"

static struct arena *arena;
static struct slots_row row;
static struct request r;

static void
setup(void)
{
    arena = arena_new();
    worker.row = &row;
    r = (struct request){.arena = arena};
    fields_init(&r.response.fields, arena);
}

static void
teardown(void)
{
    arena_free(arena);
}

static const struct {
    struct cache_told told;
    const char *want;
} members[] = {
    {{.result = RESULT_NONE}, "weir"},
    {{.result = RESULT_HIT}, "weir; hit"},
    {{.result = RESULT_HIT, .ttl_known = true, .ttl = 376}, "weir; hit; ttl=376"},
    {{.result = RESULT_HIT, .stored = true}, "weir; hit"},
    {{.result = RESULT_STALE, .ttl_known = true, .ttl = -412}, "weir; hit; ttl=-412"},
    {{.result = RESULT_STALE, .ttl_known = true, .ttl = -4, .forwarded = 503, .detail = "stale-if-error"},
     "weir; fwd=stale; fwd-status=503; ttl=-4; detail=stale-if-error"},
    {{.result = RESULT_REVALIDATED, .forwarded = 304, .stored = true, .ttl_known = true, .ttl = 60},
     "weir; fwd=stale; fwd-status=304; ttl=60; stored"},
    {{.result = RESULT_COLLAPSED}, "weir; fwd=miss; collapsed"},
    {{.result = RESULT_MISS, .forwarded = 200, .stored = true}, "weir; fwd=uri-miss; fwd-status=200; stored"},
    {{.result = RESULT_MISS, .forwarded = 200, .detail = "no-store"},
     "weir; fwd=uri-miss; fwd-status=200; detail=no-store"},
    {{.result = RESULT_VARY_MISS}, "weir; fwd=vary-miss"},
    {{.result = RESULT_EXPIRED, .forwarded = 200, .stored = true}, "weir; fwd=stale; fwd-status=200; stored"},
    {{.result = RESULT_REQUEST}, "weir; fwd=request"},
    {{.result = RESULT_METHOD}, "weir; fwd=method"},
    {{.result = RESULT_BYPASS, .detail = "authorization"}, "weir; fwd=bypass; detail=authorization"},
    {{.result = RESULT_PASSED}, "weir; fwd=miss; detail=passed"},
    {{.result = RESULT_PASSED, .detail = "private"}, "weir; fwd=miss; detail=private"},
    {{.result = RESULT_UNAVAILABLE}, "weir; detail=only-if-cached"},
    {{.result = RESULT_PURGE}, "weir; detail=purge"},
};

START_TEST(a_member)
{
    const struct field *last;

    fields_add(&r.response.fields, STR("cache-status"), STR("Origin; fwd=miss, Mid; hit"));
    fields_add(&r.response.fields, STR("X"), STR("y"));
    cache_status_tell(&r, &members[_i].told);
    ck_assert_msg(str_eq(r.outcome, str_of(members[_i].want)), "%.*s, not %s", STR_ARG(r.outcome), members[_i].want);
    last = &r.response.fields.v[r.response.fields.n - 1];
    ck_assert(str_eq(last->name, STR("Cache-Status")) && str_eq(last->value, r.outcome));
    ck_assert(str_eq(fields_find(&r.response.fields, STR("Cache-Status"))->value, STR("Origin; fwd=miss, Mid; hit")));
}
END_TEST

/* The words of the statistics are in the order of the results. */
START_TEST(each_is_counted)
{
    ck_assert_int_eq(SLOTS_CACHE_RESULTS, RESULTS - 1);
    ck_assert_str_eq(slots_cache_name[RESULT_HIT - 1], "hit");
    ck_assert_str_eq(slots_cache_name[RESULT_REVALIDATED - 1], "revalidated");
    ck_assert_str_eq(slots_cache_name[RESULT_VARY_MISS - 1], "vary_miss");
    ck_assert_str_eq(slots_cache_name[RESULT_BYPASS - 1], "bypass");
    ck_assert_str_eq(slots_cache_name[RESULT_PURGE - 1], "purge");
    for (int result = RESULT_HIT; result < RESULTS; result++) {
        struct cache_told told = {.result = (enum cache_result)result};
        uint64_t before = row.total.cache[result - 1];

        r.outcome = STR_NONE;
        cache_status_tell(&r, &told);
        ck_assert_uint_eq(row.total.cache[result - 1], before + 1);
    }
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("cache_status");
    TCase *tc = tcase_create("cache_status");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_member, 0, sizeof(members) / sizeof(members[0]));
    tcase_add_test(tc, each_is_counted);
    return unit_run(s);
}
