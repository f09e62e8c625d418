/*
 * Knows where the kernel shows a process's command line from: the strings of argv, and of environ
 * right behind them. The titles are written there, so both are copied elsewhere first. Only strings
 * found one behind the other count, and the last byte stays NUL.
 */
#include "master/title.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "worker/base/arena.h"

static struct {
    char *p;
    size_t n;
} area;

/* In one block, so that a variable that is unset later is not lost. */
static char **
copy_all(char **v)
{
    size_t i, n = 0, bytes = 0;
    char **to, *at;

    for (; v[n] != NULL; n++)
        bytes += strlen(v[n]) + 1;
    to = xmalloc((n + 1) * sizeof(*to) + bytes);
    at = (char *)(to + n + 1);
    for (i = 0; i < n; i++) {
        to[i] = at;
        at = stpcpy(at, v[i]) + 1;
    }
    to[n] = NULL;
    return to;
}

static char *
extend(char *end, char **v)
{
    for (; *v != NULL && *v == end; v++)
        end += strlen(end) + 1;
    return end;
}

char **
title_init(int argc, char **argv)
{
    static char **arguments, **environment;     /* as long as the process lives */
    char *end;

    if (argc > 0) {
        end = extend(extend(argv[0], argv), environ);
        area.p = argv[0];
        area.n = (size_t)(end - argv[0]);
    }
    arguments = copy_all(argv);
    environ = environment = copy_all(environ);
    return arguments;
}

void
title_set(const char *name, const char *fmt, ...)
{
    va_list ap;

    prctl(PR_SET_NAME, name);
    if (area.n == 0)
        return;
    memset(area.p, 0, area.n);
    va_start(ap, fmt);
    vsnprintf(area.p, area.n, fmt, ap);
    va_end(ap);
}
