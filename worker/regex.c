/*
 * Knows PCRE2, and nobody else does. Bytes, not characters: UTF mode stays off, and a pattern cannot
 * turn it on. What matching needs (context, stack, match data) is one set a process, made when it is
 * first used: in a worker, so after the fork.
 *
 * Matching is bounded in steps, in memory and in time, with and without JIT. PCRE2's match limit holds for
 * one place where a match could begin, and a subject has thousands: (.+)\1[!?] takes seconds on one of
 * 8 KiB without ever coming near it. So each pattern gets a callout before its first item, which PCRE2
 * calls at each such place; what is found there from the second on is how long it has taken.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/regex.h"

#include <pcre2.h>
#include <time.h>

#include "worker/base/log.h"

#define SUBJECT_MOST (8 * 1024)
#define PATTERN_MOST (8 * 1024)
#define MATCH_LIMIT 10000
#define HEAP_LIMIT_KIB 1024     /* of the interpreter, where JIT is not to be had */
#define JIT_STACK (1024 * 1024)
#define CALLOUT "(?C)"
#define BUDGET_NS 25000000      /* of all places in a subject but the first */

struct regex {
    pcre2_code *code;
    struct str source;
    unsigned groups;
};

static struct {
    pcre2_match_context *context;
    pcre2_match_data *data;

    /* of the match under way */
    unsigned starts;            /* places where it could begin, seen so far */
    int64_t begun;              /* at the second, by the clock on the wall */
    int64_t late;               /* when that clock had run out, by the process's; 0: it has not */
} matching;

static void
release(void *code)
{
    pcre2_code_free(code);
}

/* Where a pattern's first item stands: behind the options that only its beginning may hold, as (*NO_JIT). */
static size_t
skip_options(struct str pattern)
{
    size_t n = 0;

    while (pattern.n - n > 2 && memcmp(pattern.p + n, "(*", 2) == 0) {
        size_t end = n + 2;

        while (end < pattern.n && (pattern.p[end] == '_' || pattern.p[end] == '=' ||
                                   (pattern.p[end] >= 'A' && pattern.p[end] <= 'Z') ||
                                   (pattern.p[end] >= '0' && pattern.p[end] <= '9')))
            end++;
        if (end == pattern.n || pattern.p[end] != ')')
            break;
        n = end + 1;
    }
    return n;
}

static struct str
with_callout(struct str pattern, size_t at, struct arena *a)
{
    size_t n = sizeof(CALLOUT) - 1;
    char *text = arena_alloc(a, pattern.n + n), *to = text;

    if (at > 0)
        to = mempcpy(to, pattern.p, at);
    to = mempcpy(to, CALLOUT, n);
    if (pattern.n > at)
        memcpy(to, pattern.p + at, pattern.n - at);
    return (struct str){text, pattern.n + n};
}

static pcre2_code *
compile(struct str pattern, int *error, PCRE2_SIZE *at)
{
    uint32_t options = PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_code *code;

    check(context != NULL);
    pcre2_set_max_pattern_length(context, PATTERN_MOST);
    code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, options, error, at, context);
    pcre2_compile_context_free(context);
    return code;
}

struct regex *
regex_compile(struct str pattern, struct arena *a, struct str *why, size_t *offset)
{
    size_t start = skip_options(pattern);
    PCRE2_UCHAR message[256];
    struct regex *re;
    pcre2_code *code;
    uint32_t groups;
    int error;

    code = compile(with_callout(pattern, start, a), &error, offset);
    if (code == NULL) {
        if (*offset > start)
            *offset -= *offset - start < sizeof(CALLOUT) - 1 ? *offset - start : sizeof(CALLOUT) - 1;
        pcre2_get_error_message(error, message, sizeof(message));
        *why = arena_copy(a, str_of((const char *)message));
        return NULL;
    }
    arena_cleanup(a, release, code);
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
    if (groups > REGEX_GROUPS) {
        *why = arena_printf(a, "%u groups; at most %d", groups, REGEX_GROUPS);
        *offset = 0;
        return NULL;
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);    /* where it fails the interpreter serves */
    re = arena_alloc(a, sizeof(*re));
    *re = (struct regex){.code = code, .source = arena_copy(a, pattern), .groups = groups};
    return re;
}

int
regex_group(const struct regex *re, struct str name)
{
    PCRE2_SPTR table;
    uint32_t count, size;

    pcre2_pattern_info(re->code, PCRE2_INFO_NAMECOUNT, &count);
    pcre2_pattern_info(re->code, PCRE2_INFO_NAMEENTRYSIZE, &size);
    pcre2_pattern_info(re->code, PCRE2_INFO_NAMETABLE, &table);
    /* an entry is the number in two bytes, most significant first, and the name with a NUL */
    for (uint32_t i = 0; i < count; i++, table += size)
        if (str_eq(str_of((const char *)table + 2), name))
            return table[0] << 8 | table[1];
    return -1;
}

unsigned
regex_group_count(const struct regex *re)
{
    return re->groups;
}

struct str
regex_source(const struct regex *re)
{
    return re->source;
}

static int64_t
now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/*
 * Another place where the match could begin. The clock on the wall is cheap to ask but runs while others
 * have the CPU: once its time is up the process's own counts, from there on.
 */
static int
at_start(pcre2_callout_block *block, void *data)
{
    (void)block;
    (void)data;
    if (++matching.starts < 2)
        return 0;
    if (matching.starts == 2) {
        matching.begun = now_ns(CLOCK_MONOTONIC);
        matching.late = 0;
        return 0;
    }
    if (matching.late == 0) {
        if (now_ns(CLOCK_MONOTONIC) - matching.begun > BUDGET_NS)
            matching.late = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        return 0;
    }
    return now_ns(CLOCK_PROCESS_CPUTIME_ID) - matching.late > BUDGET_NS ? PCRE2_ERROR_MATCHLIMIT : 0;
}

static void
prepare(void)
{
    pcre2_jit_stack *stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK, NULL);

    matching.context = pcre2_match_context_create(NULL);
    matching.data = pcre2_match_data_create(REGEX_GROUPS + 1, NULL);
    check(matching.context != NULL && matching.data != NULL);
    pcre2_set_match_limit(matching.context, MATCH_LIMIT);
    pcre2_set_heap_limit(matching.context, HEAP_LIMIT_KIB);
    pcre2_set_callout(matching.context, at_start, NULL);
    if (stack != NULL)
        pcre2_jit_stack_assign(matching.context, NULL, stack);
}

/* count is how many groups from 0 on the match set at most; those after it are unset. */
static void
capture(const struct regex *re, struct str subject, int count, struct captures *c)
{
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(matching.data);

    c->regex = re;
    c->n = re->groups + 1;
    for (unsigned i = 0; i < c->n; i++) {
        bool set = (int)i < count && v[2 * i] != PCRE2_UNSET && v[2 * i] <= v[2 * i + 1];

        c->group[i] = set ? (struct str){subject.p + v[2 * i], v[2 * i + 1] - v[2 * i]} : STR("");
    }
}

enum regex_result
regex_match(const struct regex *re, struct str subject, struct captures *c)
{
    int n;

    if (subject.n > SUBJECT_MOST)
        return REGEX_LIMIT;
    if (subject.n == 0)
        subject = STR("");
    if (matching.context == NULL)
        prepare();
    matching.starts = 0;
    n = pcre2_match(re->code, (PCRE2_SPTR)subject.p, subject.n, 0, 0, matching.data, matching.context);
    if (n == PCRE2_ERROR_NOMATCH)
        return REGEX_NO;
    if (n < 0)
        return REGEX_LIMIT;
    if (c != NULL)
        capture(re, subject, n, c);
    return REGEX_YES;
}
