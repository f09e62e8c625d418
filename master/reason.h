/*
 * Why something did not work, in words for the administrator. Functions that take one return false,
 * or the like, once they have set it.
 */
#ifndef WEIR_REASON_H
#define WEIR_REASON_H

#include <stdbool.h>

struct reason {
    char text[512];
};

/* Sets it (cut where it is too long) and returns false. */
bool reason_set(struct reason *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
