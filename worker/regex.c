/*
 * Knows PCRE2, and nobody else does. Bytes, not characters: UTF mode stays off, and a pattern cannot
 * turn it on. What matching needs (context, stack, match data) is one set a process, made when it is
 * first used: in a worker, so after the fork.
 *
 * Matching is bounded in steps, in memory and in time, with and without JIT. PCRE2's match limit holds for
 * one place where a match could begin, and a subject has thousands: (.+)\1[!?] takes seconds on one of
 * 8 KiB without ever coming near it. So each pattern gets a callout before its first item, which PCRE2
 * calls at each such place; what is found there is how long all matches of the budget have taken.
 *
 * No clock is asked before FREE bytes were looked at, which takes a few milliseconds at the very worst and
 * microseconds with patterns that mean no harm: most requests never come to it.
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
#define FREE 2048               /* bytes of a budget that no clock is asked for */
#define CALL 8                  /* of those for a match, though it may look at none */
#define HALF_NS 25000000        /* of a budget, by either clock */
#define ASKING_NS 1000          /* what it takes, with each match, to ask the process's */

struct regex {
    pcre2_code *code;
    bool jit;                   /* it may be matched by that alone */
    struct str source;
    unsigned groups;
};

static struct {
    pcre2_match_context *context;
    pcre2_match_data *data;

    /* of the match under way */
    struct regex_budget *budget;
    size_t subject;             /* its length */
    int64_t begun;              /* when it began to count, by the clock of the budget's half; 0: it does not yet */
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

/* A parameter's value may hold a line feed, which is a byte as any other: or else ^.*evil would not see past it. */
static pcre2_code *
compile(struct str pattern, int *error, PCRE2_SIZE *at)
{
    uint32_t options = PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY |
                       PCRE2_DOTALL;
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
    size_t jit;
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
    /* what only a pattern's beginning may say, as (*NOTEMPTY), pcre2_match heeds and pcre2_jit_match does not */
    pcre2_pattern_info(code, PCRE2_INFO_JITSIZE, &jit);
    re = arena_alloc(a, sizeof(*re));
    *re = (struct regex){.code = code, .source = arena_copy(a, pattern), .groups = groups};
    re->jit = jit > 0 && start == 0;
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

bool
regex_anchored(const struct regex *re)
{
    uint32_t options;

    pcre2_pattern_info(re->code, PCRE2_INFO_ALLOPTIONS, &options);
    return (options & PCRE2_ANCHORED) != 0;
}

static int64_t
now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static bool
is_late(const struct regex_budget *b)
{
    return b->wall_ns >= HALF_NS;
}

static int64_t
now_for(const struct regex_budget *b)
{
    return now_ns(is_late(b) ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC);
}

/*
 * Counts what has passed since it was last counted. The clock on the wall is cheap to ask but runs while
 * others have the CPU: once its half is used up the process's own counts, from there on.
 */
static void
spend(struct regex_budget *b)
{
    bool late = is_late(b);
    int64_t now = now_for(b);

    *(late ? &b->cpu_ns : &b->wall_ns) += now - matching.begun;
    matching.begun = late == is_late(b) ? now : now_for(b);
}

/* Another place where the match could begin. */
static int
at_start(pcre2_callout_block *block, void *data)
{
    struct regex_budget *b = matching.budget;

    (void)block;
    (void)data;
    b->looked += matching.subject;
    if (b->looked <= FREE)
        return 0;
    if (matching.begun == 0)
        matching.begun = now_for(b);
    else
        spend(b);
    return b->cpu_ns >= HALF_NS ? PCRE2_ERROR_MATCHLIMIT : 0;
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

static int
run(struct regex_budget *b, const struct regex *re, struct str subject)
{
    int n;

    matching.budget = b;
    matching.subject = subject.n;
    b->looked += CALL;
    matching.begun = b->looked > FREE ? now_for(b) : 0;
    n = (re->jit ? pcre2_jit_match : pcre2_match)(re->code, (PCRE2_SPTR)subject.p, subject.n, 0, 0, matching.data,
                                                  matching.context);
    if (matching.begun != 0)
        spend(b);
    if (is_late(b))
        b->cpu_ns += ASKING_NS;
    return n;
}

enum regex_result
regex_match_within(struct regex_budget *b, const struct regex *re, struct str subject, struct captures *c)
{
    int n;

    if (subject.n > SUBJECT_MOST || b->cpu_ns >= HALF_NS)
        return REGEX_LIMIT;
    if (subject.n == 0)
        subject = STR("");
    if (matching.context == NULL)
        prepare();
    n = run(b, re, subject);
    if (n == PCRE2_ERROR_NOMATCH)
        return REGEX_NO;
    if (n < 0)
        return REGEX_LIMIT;
    if (c != NULL)
        capture(re, subject, n, c);
    return REGEX_YES;
}

enum regex_result
regex_match(const struct regex *re, struct str subject, struct captures *c)
{
    struct regex_budget budget = {0};

    return regex_match_within(&budget, re, subject, c);
}
