/*
 * Formats a reason. Nothing else, so that every message of failure takes the same way.
 */
#include "master/reason.h"

#include <stdarg.h>
#include <stdio.h>

bool
reason_set(struct reason *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->text, sizeof(r->text), fmt, ap);
    va_end(ap);
    return false;
}
