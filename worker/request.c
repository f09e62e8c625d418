/*
 * The birth and death of requests, and what is known of methods and statuses.
 */
#include "worker/request.h"

#include "worker/state.h"

#define BODY_HIGH (64 * 1024)   /* until the pipeline says otherwise */

static void
release(struct deferred *d)
{
    struct request *r = (struct request *)((char *)d - offsetof(struct request, deferred));

    flow_clear(&r->request.body);
    flow_clear(&r->response.body);
    arena_free(r->arena);
}

static void
begin(struct message *m, struct arena *a)
{
    fields_init(&m->fields, a);
    fields_init(&m->trailers, a);
    flow_init(&m->body, BODY_HIGH);
    m->length = LENGTH_UNKNOWN;
}

struct request *
request_new(struct worker *w, const struct listener *l)
{
    struct arena *a = arena_new();
    struct request *r = arena_zalloc(a, sizeof(*r));

    r->arena = a;
    r->worker = w;
    r->conf = w->conf;
    r->listener = l;
    r->scope = &w->conf->scope;
    r->minor = 1;
    begin(&r->request, a);
    begin(&r->response, a);
    r->inflow = &r->response.body;
    r->deferred.free = release;
    request_list(r);
    return r;
}

struct note {
    struct note *next;
    const void *who;
    void *what;
};

void *
request_noted(const struct request *r, const void *who)
{
    for (const struct note *n = r->notes; n != NULL; n = n->next)
        if (n->who == who)
            return n->what;
    return NULL;
}

void *
request_note(struct request *r, const void *who, size_t size)
{
    void *what = request_noted(r, who);
    struct note *n;

    if (what != NULL)
        return what;
    n = arena_alloc(r->arena, sizeof(*n));
    *n = (struct note){.next = r->notes, .who = who, .what = arena_zalloc(r->arena, size)};
    r->notes = n;
    return n->what;
}

static void
drop(void *b)
{
    buffer_drop(b);
}

void
request_hold(struct request *r, struct buffer *b)
{
    arena_cleanup(r->arena, drop, buffer_hold(b));
}

enum method
method_of(struct str name)
{
    static const struct str names[] = {
        [METHOD_GET] = {"GET", 3},         [METHOD_HEAD] = {"HEAD", 4},       [METHOD_POST] = {"POST", 4},
        [METHOD_PUT] = {"PUT", 3},         [METHOD_DELETE] = {"DELETE", 6},   [METHOD_OPTIONS] = {"OPTIONS", 7},
        [METHOD_TRACE] = {"TRACE", 5},     [METHOD_CONNECT] = {"CONNECT", 7}, [METHOD_PATCH] = {"PATCH", 5},
    };

    for (size_t i = METHOD_GET; i < sizeof(names) / sizeof(names[0]); i++)
        if (str_eq(name, names[i]))
            return (enum method)i;
    return METHOD_OTHER;
}

bool
method_idempotent(enum method m)
{
    switch (m) {
    case METHOD_GET:
    case METHOD_HEAD:
    case METHOD_PUT:
    case METHOD_DELETE:
    case METHOD_OPTIONS:
    case METHOD_TRACE:
        return true;
    case METHOD_OTHER:
    case METHOD_POST:
    case METHOD_CONNECT:
    case METHOD_PATCH:
        break;
    }
    return false;
}

/* IANA's registry of status codes. */
#define STATUS_LIST(X) \
    X(100, "Continue") \
    X(101, "Switching Protocols") \
    X(102, "Processing") \
    X(103, "Early Hints") \
    X(200, "OK") \
    X(201, "Created") \
    X(202, "Accepted") \
    X(203, "Non-Authoritative Information") \
    X(204, "No Content") \
    X(205, "Reset Content") \
    X(206, "Partial Content") \
    X(207, "Multi-Status") \
    X(208, "Already Reported") \
    X(226, "IM Used") \
    X(300, "Multiple Choices") \
    X(301, "Moved Permanently") \
    X(302, "Found") \
    X(303, "See Other") \
    X(304, "Not Modified") \
    X(305, "Use Proxy") \
    X(307, "Temporary Redirect") \
    X(308, "Permanent Redirect") \
    X(400, "Bad Request") \
    X(401, "Unauthorized") \
    X(402, "Payment Required") \
    X(403, "Forbidden") \
    X(404, "Not Found") \
    X(405, "Method Not Allowed") \
    X(406, "Not Acceptable") \
    X(407, "Proxy Authentication Required") \
    X(408, "Request Timeout") \
    X(409, "Conflict") \
    X(410, "Gone") \
    X(411, "Length Required") \
    X(412, "Precondition Failed") \
    X(413, "Content Too Large") \
    X(414, "URI Too Long") \
    X(415, "Unsupported Media Type") \
    X(416, "Range Not Satisfiable") \
    X(417, "Expectation Failed") \
    X(421, "Misdirected Request") \
    X(422, "Unprocessable Content") \
    X(423, "Locked") \
    X(424, "Failed Dependency") \
    X(425, "Too Early") \
    X(426, "Upgrade Required") \
    X(428, "Precondition Required") \
    X(429, "Too Many Requests") \
    X(431, "Request Header Fields Too Large") \
    X(451, "Unavailable For Legal Reasons") \
    X(500, "Internal Server Error") \
    X(501, "Not Implemented") \
    X(502, "Bad Gateway") \
    X(503, "Service Unavailable") \
    X(504, "Gateway Timeout") \
    X(505, "HTTP Version Not Supported") \
    X(506, "Variant Also Negotiates") \
    X(507, "Insufficient Storage") \
    X(508, "Loop Detected") \
    X(510, "Not Extended") \
    X(511, "Network Authentication Required")

struct str
status_reason(int status)
{
    switch (status) {
#define X(code, phrase) \
    case code: \
        return STR(phrase);
        STATUS_LIST(X)
#undef X
    }
    return STR("");
}
