/*
 * Hop-by-hop fields. It alone knows which fields end here.
 */
#include "worker/hop.h"

#include <ctype.h>

#include "worker/forwarded.h"

#define BIT(name) ((uint64_t)1 << FIELD_##name)
#define KEY_TEXT 24             /* of a WebSocket, in base64 */

/* Content-Length is framing and written anew; Proxy-Auth* is between the client and its first proxy. */
static const uint64_t hop_fields = BIT(CONNECTION) | BIT(CONTENT_LENGTH) | BIT(HTTP2_SETTINGS) | BIT(KEEP_ALIVE) |
                                   BIT(PROXY_AUTHENTICATE) | BIT(PROXY_AUTHORIZATION) | BIT(PROXY_CONNECTION) |
                                   BIT(TE) | BIT(TRANSFER_ENCODING) | BIT(UPGRADE);

static bool
is_hop(enum field_id id)
{
    return hop_fields >> id & 1;
}

/*
 * Members of Connection that name no field, or one that can't be taken away: weir acts on it itself, or it is for all
 * recipients (RFC 9110 7.6.1) and tells what may be stored. Those that are met in life stand first.
 */
static bool
is_kept(struct str member)
{
    static const struct str kept[] = {
        {"keep-alive", 10},    {"close", 5},           {"upgrade", 7},        {"te", 2},
        {"host", 4},           {"expect", 6},          {"cache-control", 13}, {"cdn-cache-control", 17},
        {"weir-cache-control", 18}, {"vary", 4},       {"expires", 7},
    };

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (str_ieq(member, kept[i]))
            return true;
    return false;
}

/* Removes from `f` what the Connection fields in `said` name. */
static void
remove_named(struct fields *f, const struct fields *said)
{
    if (!(said->seen >> FIELD_CONNECTION & 1))
        return;
    for (size_t i = 0; i < said->n; i++) {
        struct str list, member;

        if (said->v[i].id != FIELD_CONNECTION || said->v[i].gone)
            continue;
        list = said->v[i].value;
        /* what nearly everyone says */
        if (str_ieq(list, STR("keep-alive")) || str_ieq(list, STR("close")))
            continue;
        while (str_list_next(&list, &member))
            if (!is_kept(member))
                fields_remove(f, member);
    }
}

/* An HTTP/1.0 request without Host: the first server's own address. */
static struct str
server_host(const struct request *r)
{
    const struct server *s = &r->upstream->servers[0];

    return s->address.ip.family == AF_UNIX ? STR("localhost") : s->text;
}

void
hop_forward(struct request *r)
{
    const struct fields *from = &r->request.fields;

    fields_init(&r->forward, r->arena);
    fields_add_id(&r->forward, FIELD_HOST, r->host_field.p != NULL ? r->host_field : server_host(r));
    for (size_t i = 0; i < from->n; i++) {
        const struct field *f = &from->v[i];

        if (f->gone || is_hop(f->id) || f->id == FIELD_HOST || forwarded_is_ours(r, f))
            continue;
        if (f->id == FIELD_EXPECT && !r->expects_continue)
            continue;
        fields_add_known(&r->forward, f);
    }
    remove_named(&r->forward, from);
    /* a member that each hop says for itself, and weir relays trailers (RFC 9110 10.1.4) */
    if (fields_list_has(from, FIELD_TE, STR("trailers")))
        fields_add_id(&r->forward, FIELD_TE, STR("trailers"));
    forwarded_add(r);
}

void
hop_target(const struct request *r, struct str *path, struct str *query)
{
    if (r->path.p != NULL) {
        *path = r->path;
        *query = r->query;
    } else {
        *path = r->uri.dots ? r->uri.canonical : r->uri.path;
        *query = r->uri.query;
    }
}

/* RFC 9110 8.6: no Content-Length: 0 where the method knows no content. */
bool
hop_announces(const struct request *r)
{
    return r->request.length != 0 || fields_find_id(&r->request.fields, FIELD_CONTENT_LENGTH) != NULL ||
           r->method == METHOD_POST || r->method == METHOD_PUT || r->method == METHOD_PATCH;
}

void
hop_response(struct fields *f)
{
    if (!(f->seen & hop_fields))
        return;
    remove_named(f, f);
    for (size_t i = 0; i < f->n; i++)
        if (is_hop(f->v[i].id))
            f->v[i].gone = true;
}

/* Whether a Connection field, removed or not, names it. */
static bool
is_named(const struct fields *said, struct str name)
{
    if (!(said->seen >> FIELD_CONNECTION & 1))
        return false;
    for (size_t i = 0; i < said->n; i++) {
        struct str list = said->v[i].value, member;

        if (said->v[i].id != FIELD_CONNECTION)
            continue;
        while (str_list_next(&list, &member))
            if (str_ieq(member, name))
                return true;
    }
    return false;
}

/* What a policy has set or removed does not come back through the trailers, under whatever spelling. */
static bool
is_fixed(const struct fields *sent, const struct field *f)
{
    for (size_t i = 0; i < sent->n; i++)
        if (sent->v[i].fixed && field_reads_as(sent->v[i].name, f->name))
            return true;
    return false;
}

bool
hop_names(const struct fields *f)
{
    for (size_t i = 0; i < f->n && (f->seen >> FIELD_CONNECTION & 1); i++) {
        struct str list = f->v[i].value, member;

        if (f->v[i].id != FIELD_CONNECTION || f->v[i].gone)
            continue;
        while (str_list_next(&list, &member))
            if (!is_kept(member) && !is_hop(field_id(member)) && fields_find(f, member) != NULL)
                return true;
    }
    return false;
}

bool
hop_trailer(const struct request *r, const struct message *m, const struct field *f)
{
    static const struct str refused[] = {
        {"content-encoding", 16}, {"content-range", 13}, {"set-cookie", 10},       {"age", 3},
        {"expires", 7},           {"vary", 4},           {"www-authenticate", 16},
    };

    if (is_named(&m->fields, f->name) || is_fixed(m == &r->request ? &r->forward : &m->fields, f))
        return false;
    switch (f->id) {
    case FIELD_OTHER:
        break;
    case FIELD_AUTHORIZATION:
    case FIELD_CACHE_CONTROL:
    case FIELD_RANGE:
    case FIELD_CONTENT_TYPE:
    case FIELD_COOKIE:
    case FIELD_DATE:
    case FIELD_EXPECT:
    case FIELD_HOST:
    case FIELD_LOCATION:
    case FIELD_MAX_FORWARDS:
    case FIELD_TRAILER:
        return false;
    default:
        return !is_hop(f->id) && !forwarded_is_ours(r, f);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (str_ieq(f->name, refused[i]))
            return false;
    return !forwarded_is_ours(r, f);
}

/* RFC 6455 4.2.1: 16 bytes in base64. */
static bool
has_key(const struct fields *f)
{
    const struct field *key = fields_find(f, STR("Sec-WebSocket-Key"));
    size_t n = 0;

    if (key == NULL || key->value.n != KEY_TEXT)
        return false;
    while (n < KEY_TEXT && (isalnum((unsigned char)key->value.p[n]) || strchr("+/", key->value.p[n]) != NULL))
        n++;
    return n == KEY_TEXT - 2 && memcmp(key->value.p + n, "==", 2) == 0;
}

/* A server that speaks HTTP/2 sees no key: what is no handshake goes to it as what it is without the Upgrade. */
void
hop_upgrade(struct request *r)
{
    const struct fields *f = &r->request.fields;

    r->wants_upgrade = (f->seen >> FIELD_UPGRADE & 1) && r->minor > 0 && r->method == METHOD_GET &&
                       r->request.length == 0 && fields_list_has(f, FIELD_CONNECTION, STR("upgrade")) &&
                       fields_list_has(f, FIELD_UPGRADE, STR("websocket")) &&
                       (r->upstream->protocol == UPSTREAM_HTTP1 || has_key(f));
}
