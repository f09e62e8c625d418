/*
 * The loop's clock: read once a turn, so that a request pays for no clock call. Texts of dates are
 * made once a second, and good until the clock is next updated.
 */
#ifndef WEIR_CLOCK_H
#define WEIR_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "worker/base/str.h"

void clock_update(void);

int64_t clock_us(void);                 /* monotonic */
int64_t clock_ms(void);
int64_t clock_wall_ms(void);            /* since the epoch */
int64_t clock_exact_ns(void);           /* monotonic, as it is now, for how long something took within a turn */

struct str clock_http_date(void);       /* "Sat, 21 Nov 2026 09:51:00 GMT" (RFC 9110 5.6.7) */
struct str clock_log_time(void);        /* "21/Nov/2026:09:51:00 +0000", local time */
struct str clock_rfc3339(void);         /* "2026-11-21T09:51:00.123Z" */

/* Any time as RFC 3339, with a NUL, into buf: its length, 24 for the years 0 to 9999; 0: too small. */
#define CLOCK_FORMAT_SIZE 40
size_t clock_format(char *buf, size_t size, int64_t wall_ms);

#endif
