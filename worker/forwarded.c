/*
 * Forwarding fields. It alone knows which words of a client are believed.
 */
#include "worker/forwarded.h"

#include <ctype.h>

#include "worker/base/random.h"

#define OUR_NAME "weir"
#define LOOPS_MOST 8
#define ADDRESS_MOST 46
#define ID_MOST 128

/* Text is put together in memory of a length that was computed before. */
static char *
put(char *at, struct str s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

/* All values of a list field in one, as RFC 9110 5.3 allows; p is NULL where there is none. */
static struct str
joined(const struct request *r, enum field_id id)
{
    const struct fields *fs = &r->request.fields;
    const struct field *f;
    size_t n = 0, count = 0;
    char *text, *at;

    if (!(fs->seen >> id & 1))
        return STR_NONE;
    for (f = fs->v; f < fs->v + fs->n; f++)
        if (f->id == id && !f->gone) {
            n += f->value.n + 2;
            count++;
        }
    if (count <= 1)
        return fields_value(fs, id);
    at = text = arena_alloc(r->arena, n);
    for (f = fs->v; f < fs->v + fs->n; f++)
        if (f->id == id && !f->gone)
            at = put(put(at, f->value), STR(", "));
    return (struct str){text, n - 2};
}

/* A member of X-Forwarded-For: an address, perhaps with a port, an IPv6 one perhaps in brackets. */
static bool
parse_member(struct ip *ip, struct str s)
{
    const char *close, *colon;

    if (s.n > 1 && s.p[0] == '[' && (close = memchr(s.p, ']', s.n)) != NULL)
        return ip_parse(ip, (struct str){s.p + 1, (size_t)(close - s.p) - 1}) && ip->family == AF_INET6;
    if (ip_parse(ip, s))
        return true;
    colon = memchr(s.p, ':', s.n);
    return colon != NULL && ip_parse(ip, (struct str){s.p, (size_t)(colon - s.p)});
}

/*
 * The first address from the right that is no trusted proxy. A member that is no address ends the
 * search: what stands left of it was written by nobody we know.
 */
static struct ip
client_of(const struct request *r)
{
    struct str list = joined(r, FIELD_X_FORWARDED_FOR);
    struct ip client = r->peer, ip;

    while (list.n > 0) {
        const char *comma = memrchr(list.p, ',', list.n);
        const char *start = comma != NULL ? comma + 1 : list.p;
        struct str member = str_trim((struct str){start, (size_t)(list.p + list.n - start)});

        list.n = comma != NULL ? (size_t)(comma - list.p) : 0;
        if (member.n == 0)
            continue;
        if (!parse_member(&ip, member))
            break;
        client = ip;
        if (!cidr_list_has(&r->conf->trusted_proxies, &ip))
            break;
    }
    return client;
}

static bool
is_id(struct str s)
{
    if (s.n == 0 || s.n > ID_MOST)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!isalnum((unsigned char)s.p[i]) && strchr("-_.:=+/@", s.p[i]) == NULL)
            return false;
    return true;
}

static struct str
new_id(struct arena *a)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char bytes[16];
    char *id = arena_alloc(a, 32);

    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        id[2 * i] = hex[bytes[i] >> 4];
        id[2 * i + 1] = hex[bytes[i] & 15];
    }
    return (struct str){id, 32};
}

void
forwarded_trust(struct request *r)
{
    const struct cidr_list *proxies = &r->conf->trusted_proxies;
    struct str id = STR_NONE;

    r->peer_trusted = r->peer.family == 0 ? proxies->unix_peers : cidr_list_has(proxies, &r->peer);
    r->client = r->peer;
    r->https = r->tls;
    if (r->peer_trusted) {
        struct str proto = fields_value(&r->request.fields, FIELD_X_FORWARDED_PROTO);

        r->client = client_of(r);
        if (str_ieq(proto, STR("https")))
            r->https = true;
        else if (str_ieq(proto, STR("http")))
            r->https = false;
        id = fields_value(&r->request.fields, FIELD_X_REQUEST_ID);
    }
    r->id = is_id(id) ? id : new_id(r->arena);
}

static struct str
peer_text(const struct request *r, char *buf)
{
    if (r->peer.family == 0)
        return STR("unknown");
    return (struct str){buf, ip_format(&r->peer, buf)};
}

static struct str
appended(struct request *r, struct str before, struct str s)
{
    char *text = arena_alloc(r->arena, before.n + 2 + s.n), *at = text;

    if (before.n > 0) {
        at = put(at, before);
        at = put(at, STR(", "));
    }
    at = put(at, s);
    return (struct str){text, (size_t)(at - text)};
}

/* RFC 7239 4: an element of ours; what is no token is quoted (an IPv6 address in brackets, a host with a port). */
static struct str
element(struct request *r, struct str peer, struct str host)
{
    struct str proto = r->tls ? STR("https") : STR("http");
    bool v6 = r->peer.family == AF_INET6;
    char *text = arena_alloc(r->arena, peer.n + host.n + 40), *at = text;

    at = put(at, v6 ? STR("for=\"[") : STR("for="));
    at = put(at, peer);
    at = put(at, v6 ? STR("]\"") : STR(""));
    if (host.n > 0) {
        bool quote = !field_is_token(host);

        at = put(at, quote ? STR(";host=\"") : STR(";host="));
        at = put(at, host);
        at = put(at, quote ? STR("\"") : STR(""));
    }
    at = put(at, STR(";proto="));
    at = put(at, proto);
    return (struct str){text, (size_t)(at - text)};
}

void
forwarded_add(struct request *r)
{
    struct fields *to = &r->forward;
    bool trusted = r->peer_trusted;
    char *buf = arena_alloc(r->arena, ADDRESS_MOST);
    struct str peer = peer_text(r, buf), host = STR_NONE;

    fields_add_id(to, FIELD_X_FORWARDED_FOR,
                  appended(r, trusted ? joined(r, FIELD_X_FORWARDED_FOR) : STR_NONE, peer));
    fields_add_id(to, FIELD_X_FORWARDED_PROTO, r->https ? STR("https") : STR("http"));
    if (trusted)
        host = fields_value(&r->request.fields, FIELD_X_FORWARDED_HOST);
    if (host.n == 0)
        host = r->host_field;
    if (host.n > 0)
        fields_add_id(to, FIELD_X_FORWARDED_HOST, host);
    fields_add_id(to, FIELD_FORWARDED,
                  appended(r, trusted ? joined(r, FIELD_FORWARDED) : STR_NONE, element(r, peer, r->host_field)));
    fields_add_id(to, FIELD_VIA,
                  appended(r, joined(r, FIELD_VIA), r->minor == 0 ? STR("1.0 " OUR_NAME) : STR("1.1 " OUR_NAME)));
    fields_add_id(to, FIELD_X_REQUEST_ID, r->id);
}

/* Equal but for case, and `_` where we have `-`. */
static bool
looks_like(struct str name, struct str ours)
{
    if (name.n < ours.n)
        return false;
    for (size_t i = 0; i < ours.n; i++) {
        char c = name.p[i] == '_' ? '-' : (char)tolower((unsigned char)name.p[i]);

        if (c != ours.p[i])
            return false;
    }
    return true;
}

bool
forwarded_is_ours(const struct request *r, const struct field *f)
{
    static const struct str prefix = {"x-forwarded-", 12}, id = {"x-request-id", 12};

    switch (f->id) {
    case FIELD_X_FORWARDED_FOR:
    case FIELD_X_FORWARDED_HOST:
    case FIELD_X_FORWARDED_PROTO:
    case FIELD_X_REQUEST_ID:
    case FIELD_FORWARDED:
    case FIELD_VIA:
        return true;
    case FIELD_OTHER:
        break;
    default:
        return false;
    }
    if ((f->name.p[0] | 0x20) != 'x')
        return false;
    if (r->peer_trusted && memchr(f->name.p, '_', f->name.n) == NULL)
        return false;
    return looks_like(f->name, prefix) || (f->name.n == id.n && looks_like(f->name, id));
}

bool
forwarded_loops(const struct request *r)
{
    struct str list = joined(r, FIELD_VIA), member;
    unsigned n = 0;

    while (str_list_next(&list, &member)) {
        /* received-protocol RWS received-by [ RWS comment ] */
        const char *space = memchr(member.p, ' ', member.n);
        struct str by;

        if (space == NULL)
            continue;
        by = str_trim((struct str){space, (size_t)(member.p + member.n - space)});
        if ((space = memchr(by.p, ' ', by.n)) != NULL)
            by.n = (size_t)(space - by.p);
        if (str_ieq(by, STR(OUR_NAME)))
            n++;
    }
    return n > LOOPS_MOST;
}
