#include <check.h>

#include "t/unit/unit.h"
#include "worker/base/suggest.h"

/* What is suggested for the word, of these; "" for nothing. */
static void
expect(const char *word, const char *want)
{
    static const char *const words[] = {"proxy", "respond", "redirect", "match", "name", "timeouts", "limits",
                                        "path", "app", "keepalive", "keepalive_timeout", NULL};
    struct arena *a = arena_new();
    struct suggest s;
    struct str text;

    suggest_init(&s, str_of(word));
    for (size_t i = 0; words[i] != NULL; i++)
        suggest_try(&s, str_of(words[i]));
    text = suggest_text(&s, a);
    if (*want == '\0')
        ck_assert_msg(text.n == 0, "%s: %.*s", word, STR_ARG(text));
    else
        ck_assert_msg(str_eq(text, arena_printf(a, "; did you mean `%s`?", want)), "%s: %.*s", word, STR_ARG(text));
    arena_free(a);
}

START_TEST(near_words_are_suggested)
{
    expect("proxi", "proxy");
    expect("prxoy", "proxy");
    expect("Proxy", "proxy");
    expect("prox", "proxy");
    expect("ap", "app");
    expect("timeout", "timeouts");
    expect("keepaliv", "keepalive");
    expect("keep_alive", "keepalive");
    expect("keepalive_timeuot", "keepalive_timeout");
    expect("redirekt", "redirect");
}
END_TEST

START_TEST(far_words_are_not)
{
    expect("", "");
    expect("x", "");
    expect("zz", "");
    expect("cache", "");
    expect("rewrite", "");
    expect("proxy_pass_the_request_to_a_server_that_is_far_away", "");
}
END_TEST

/* Two neighbours that changed places are one mistake, not two. */
START_TEST(swapped_letters_are_near)
{
    struct suggest s;

    suggest_init(&s, STR("ab"));
    suggest_try(&s, STR("xy"));
    ck_assert_ptr_null(s.best.p);
    suggest_try(&s, STR("ba"));
    ck_assert(str_eq(s.best, STR("ba")));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("suggest");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, near_words_are_suggested);
    tcase_add_test(tc, far_words_are_not);
    tcase_add_test(tc, swapped_letters_are_near);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
