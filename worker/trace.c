/*
 * Knows how a remark becomes one line of text.
 */
#include "worker/trace.h"

#include <stdarg.h>

void
trace_say(struct request *r, int line, const char *fmt, ...)
{
    struct str text;
    va_list ap;

    va_start(ap, fmt);
    text = arena_vprintf(r->arena, fmt, ap);
    va_end(ap);
    r->trace->say(r->trace, line, arena_cstr(r->arena, text));
}
