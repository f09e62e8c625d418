/*
 * Fields (RFC 9110 5): the header or trailer section of a message, in the order they came. Names
 * and values are slices into memory that lives as long as the request (its head buffer or its
 * arena). A name compares without regard to case; the ones the engine cares for have an id, so
 * that finding them is comparing small numbers.
 */
#ifndef WEIR_FIELD_H
#define WEIR_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"

/* The one list of the fields with an id; keep it sorted. */
#define FIELD_LIST(X) \
    X(ACCEPT_RANGES, "Accept-Ranges") \
    X(AUTHORIZATION, "Authorization") \
    X(CACHE_CONTROL, "Cache-Control") \
    X(CONNECTION, "Connection") \
    X(CONTENT_LENGTH, "Content-Length") \
    X(CONTENT_TYPE, "Content-Type") \
    X(COOKIE, "Cookie") \
    X(DATE, "Date") \
    X(EXPECT, "Expect") \
    X(FORWARDED, "Forwarded") \
    X(HOST, "Host") \
    X(HTTP2_SETTINGS, "HTTP2-Settings") \
    X(IF_MATCH, "If-Match") \
    X(IF_MODIFIED_SINCE, "If-Modified-Since") \
    X(IF_NONE_MATCH, "If-None-Match") \
    X(IF_RANGE, "If-Range") \
    X(IF_UNMODIFIED_SINCE, "If-Unmodified-Since") \
    X(KEEP_ALIVE, "Keep-Alive") \
    X(LOCATION, "Location") \
    X(MAX_FORWARDS, "Max-Forwards") \
    X(PRAGMA, "Pragma") \
    X(PROXY_AUTHENTICATE, "Proxy-Authenticate") \
    X(PROXY_AUTHORIZATION, "Proxy-Authorization") \
    X(PROXY_CONNECTION, "Proxy-Connection") \
    X(RANGE, "Range") \
    X(REFERER, "Referer") \
    X(SERVER, "Server") \
    X(TE, "TE") \
    X(TRAILER, "Trailer") \
    X(TRANSFER_ENCODING, "Transfer-Encoding") \
    X(UPGRADE, "Upgrade") \
    X(USER_AGENT, "User-Agent") \
    X(VIA, "Via") \
    X(X_FORWARDED_FOR, "X-Forwarded-For") \
    X(X_FORWARDED_HOST, "X-Forwarded-Host") \
    X(X_FORWARDED_PROTO, "X-Forwarded-Proto") \
    X(X_REQUEST_ID, "X-Request-ID")

enum field_id {
    FIELD_OTHER = 0,
#define X(id, name) FIELD_##id,
    FIELD_LIST(X)
#undef X
    FIELD_IDS,
};

struct field {
    struct str name;
    struct str value;           /* trimmed */
    enum field_id id;
    bool gone;                  /* removed: skip it */
    bool fixed;                 /* gone or not, a policy has said so: no trailer that reads as it passes (hop.h) */
    bool secret;                /* in no table of HPACK's, on any hop: who sent it has said so (RFC 7541 6.2.3) */
};

struct fields {
    struct field *v;
    size_t n;                   /* gone ones included */
    size_t cap;
    uint64_t seen;              /* a bit for each id that was ever added */
    struct arena *arena;
};

_Static_assert(FIELD_IDS <= 64, "fields.seen holds a bit for each id");

void fields_init(struct fields *f, struct arena *a);

/* Appends; the slices are kept, not copied. The pointer is good until the next append. */
struct field *fields_add(struct fields *f, struct str name, struct str value);
struct field *fields_add_id(struct fields *f, enum field_id id, struct str value);
/* A copy of another list's, whose id is known; it stays secret. */
struct field *fields_add_known(struct fields *f, const struct field *known);
/* All that aren't gone in another list, with their bytes: these live in to's arena then. */
void fields_copy(struct fields *to, const struct fields *from);

/* The first one that is not gone, or NULL. */
struct field *fields_find(const struct fields *f, struct str name);
struct field *fields_find_id(const struct fields *f, enum field_id id);

/* The value of the first such field; p is NULL where there is none. */
struct str fields_value(const struct fields *f, enum field_id id);

/* All of that name. */
void fields_remove(struct fields *f, struct str name);
void fields_remove_id(struct fields *f, enum field_id id);

/* Removes all of that id and adds one. */
void fields_set_id(struct fields *f, enum field_id id, struct str value);

/* The id of a name in any case, by a perfect hash; FIELD_OTHER for the rest. */
enum field_id field_id(struct str name);
struct str field_name(enum field_id id);

/* RFC 9110 5.6.2 token: a method or a field name. */
bool field_is_token(struct str s);
/* Whether they are one name to a reader that takes `_` for `-`, as CGI makes many do; in any case. */
bool field_reads_as(struct str a, struct str b);
/* No control bytes but HTAB: what may stand in a value (RFC 9110 5.5). */
bool field_is_value(struct str s);

/* Whether a comma-separated list in any of the fields of that id has the member (any case). */
bool fields_list_has(const struct fields *f, enum field_id id, struct str member);

#endif
