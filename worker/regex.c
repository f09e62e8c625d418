/*
 * Knows PCRE2, and nobody else does. Bytes, not characters: UTF mode stays off, and a pattern cannot
 * turn it on. Matching is bounded in steps and in memory, with and without JIT. What matching needs
 * (context, stack, match data) is one set a process, made when it is first used: in a worker, so
 * after the fork.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/regex.h"

#include <pcre2.h>

#include "worker/base/log.h"

#define SUBJECT_MOST (8 * 1024)
#define PATTERN_MOST (8 * 1024)
#define MATCH_LIMIT 10000
#define HEAP_LIMIT_KIB 1024     /* of the interpreter, where JIT is not to be had */
#define JIT_STACK (1024 * 1024)

struct regex {
    pcre2_code *code;
    struct str source;
    unsigned groups;
};

static struct {
    pcre2_match_context *context;
    pcre2_match_data *data;
} matching;

static void
release(void *code)
{
    pcre2_code_free(code);
}

static pcre2_code *
compile(struct str pattern, int *error, PCRE2_SIZE *at)
{
    uint32_t options = PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_code *code;

    check(context != NULL);
    pcre2_set_max_pattern_length(context, PATTERN_MOST);
    code = pcre2_compile((PCRE2_SPTR)(pattern.n > 0 ? pattern.p : ""), pattern.n, options, error, at, context);
    pcre2_compile_context_free(context);
    return code;
}

struct regex *
regex_compile(struct str pattern, struct arena *a, struct str *why, size_t *offset)
{
    PCRE2_UCHAR message[256];
    struct regex *re;
    pcre2_code *code;
    uint32_t groups;
    int error;

    code = compile(pattern, &error, offset);
    if (code == NULL) {
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

static void
prepare(void)
{
    pcre2_jit_stack *stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK, NULL);

    matching.context = pcre2_match_context_create(NULL);
    matching.data = pcre2_match_data_create(REGEX_GROUPS + 1, NULL);
    check(matching.context != NULL && matching.data != NULL);
    pcre2_set_match_limit(matching.context, MATCH_LIMIT);
    pcre2_set_heap_limit(matching.context, HEAP_LIMIT_KIB);
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
    n = pcre2_match(re->code, (PCRE2_SPTR)subject.p, subject.n, 0, 0, matching.data, matching.context);
    if (n == PCRE2_ERROR_NOMATCH)
        return REGEX_NO;
    if (n < 0)
        return REGEX_LIMIT;
    if (c != NULL)
        capture(re, subject, n, c);
    return REGEX_YES;
}
