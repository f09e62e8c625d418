/*
 * Strings for JSON (RFC 8259 7).
 */
#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include "worker/base/str.h"

/*
 * Writes the inside of a JSON string, without its quotes: valid UTF-8 as it is, quotes, backslashes and control
 * characters (C0, DEL, C1) escaped, and each byte that is no UTF-8 as \u00XX, so that none is lost. What would need
 * more than `most` bytes is cut before the character that doesn't fit. Returns how many bytes it writes (to == NULL:
 * only counts).
 */
size_t json_escape(char *to, struct str s, size_t most);

#endif
