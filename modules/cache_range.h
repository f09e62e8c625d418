/*
 * Ranges of a whole stored response (RFC 9110 14).
 */
#ifndef WEIR_CACHE_RANGE_H
#define WEIR_CACHE_RANGE_H

#include <stdint.h>

#include "worker/request.h"

#define RANGES_MOST 16

struct range {
    uint64_t from, to;          /* bytes from, up to and without to */
    struct str before;          /* multipart: what stands before its bytes */
};

struct ranges {
    struct range v[RANGES_MOST];
    size_t n;
    struct str after;           /* multipart: what stands at the end */
    struct str type;            /* multipart: Content-Type of the response */
    uint64_t length;            /* of the response's content */
};

/*
 * 206, 416, or 0: no Range, several that differ, not of bytes, malformed, or one that no server has to serve (more than
 * RANGES_MOST after those that overlap or touch were made one; two that overlap and are not in order (RFC 9110 14.2)):
 * the whole response. `request`: a GET, and If-Range was looked at before. A 206 of several ranges is ready to be sent,
 * in the order in which they were asked for: `type` is that of the stored response, p NULL: it has none. `out` is
 * changed by a 206 only; its texts lie in the arena.
 */
int cache_range_parse(struct ranges *out, const struct fields *request, uint64_t length, struct str type,
                      struct arena *a);

/* The value of Content-Range: of a single range, or of a 416 (out NULL). */
struct str cache_range_value(const struct ranges *out, uint64_t length, struct arena *a);

#endif
