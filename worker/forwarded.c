/*
 * Forwarding fields. It alone knows which words of a client are believed.
 */
#include "worker/forwarded.h"

#include <ctype.h>

#include "worker/base/hex.h"
#include "worker/base/random.h"
#include "worker/trace.h"

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

/* ":80", or nothing. */
static bool
is_port(struct str s)
{
    if (s.n == 0)
        return true;
    if (s.p[0] != ':' || s.n < 2 || s.n > 6)
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (!isdigit((unsigned char)s.p[i]))
            return false;
    return true;
}

/* A member of X-Forwarded-For: an address, perhaps with a port, an IPv6 one (a mapped one too) perhaps in brackets. */
static bool
parse_member(struct ip *ip, struct str s)
{
    bool bracket = s.n > 1 && s.p[0] == '[';
    const char *end = memchr(s.p, bracket ? ']' : ':', s.n);
    struct str text, rest;

    if (!bracket && ip_parse(ip, s))
        return true;
    if (end == NULL)
        return false;
    text = (struct str){s.p + bracket, (size_t)(end - s.p) - bracket};
    rest = (struct str){end + bracket, (size_t)(s.p + s.n - end) - bracket};
    return (memchr(text.p, ':', text.n) != NULL) == bracket && ip_parse(ip, text) && is_port(rest);
}

/*
 * The first address from the right that is no trusted proxy. A member that is no address (`unknown` is what
 * Squid writes, and weir for a peer on a unix socket) ends the search: what stands left of it was written by
 * nobody we know, and the proxy that wrote it is not who asks. The client is unknown then.
 */
static struct ip
client_of(struct request *r)
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
        if (!parse_member(&ip, member)) {
            trace(r, r->listener->line, "X-Forwarded-For: %.*s is no address: nobody knows the client",
                  STR_ARG(member));
            return (struct ip){.family = IP_UNKNOWN};
        }
        client = ip;
        if (!cidr_list_has(&r->conf->trusted_proxies, &ip))
            break;
    }
    return client;
}

/* What the nearest proxy said, where there are several lines. */
static struct str
last_value(const struct request *r, enum field_id id)
{
    const struct fields *f = &r->request.fields;

    if (f->seen >> id & 1)
        for (size_t i = f->n; i-- > 0;)
            if (f->v[i].id == id && !f->v[i].gone)
                return f->v[i].value;
    return STR_NONE;
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
    uint32_t words[4];
    char *id = arena_alloc(a, 32);

    random_bytes(words, sizeof words);
    for (size_t i = 0; i < 4; i++)
        hex_put_word(id + 8 * i, words[i]);
    return (struct str){id, 32};
}

/* What a client says of others that is not believed. */
static void
tell_distrust(struct request *r, const char *peer)
{
    static const enum field_id ids[] = {FIELD_X_FORWARDED_FOR, FIELD_X_FORWARDED_PROTO, FIELD_X_FORWARDED_HOST,
                                        FIELD_FORWARDED, FIELD_X_REQUEST_ID};

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (fields_find_id(&r->request.fields, ids[i]) != NULL)
            trace(r, r->listener->line, "%.*s is not believed: %s is in no trusted_proxies",
                  STR_ARG(field_name(ids[i])), peer);
}

static void
tell(struct request *r)
{
    int line = cidr_list_line(&r->conf->trusted_proxies, &r->peer);
    char peer[ADDRESS_MOST + 1], client[ADDRESS_MOST + 1];

    peer[ip_format(&r->peer, peer)] = '\0';
    client[ip_format(&r->client, client)] = '\0';
    if (r->peer_trusted)
        trace(r, line, "%s is a trusted proxy: what it says of its client is believed", peer);
    else
        tell_distrust(r, peer);
    trace(r, r->peer_trusted ? line : r->listener->line, "$client_ip %s, $scheme %s", client,
          r->https ? "https" : "http");
}

void
forwarded_trust(struct request *r)
{
    const struct cidr_list *proxies = &r->conf->trusted_proxies;
    struct str id = STR_NONE;

    r->peer_trusted = r->peer.family == 0 ? proxies->unix_peers : cidr_list_has(proxies, &r->peer);
    r->client = r->peer;
    r->https = r->tls != NULL;
    if (r->peer_trusted) {
        struct str proto = last_value(r, FIELD_X_FORWARDED_PROTO);

        r->client = client_of(r);
        if (str_ieq(proto, STR("https")))
            r->https = true;
        else if (str_ieq(proto, STR("http")))
            r->https = false;
        id = last_value(r, FIELD_X_REQUEST_ID);
    }
    r->id = is_id(id) ? id : new_id(r->arena);
    if (r->trace != NULL)
        tell(r);
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
    struct str proto = r->tls != NULL ? STR("https") : STR("http");
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

/* What a trusted proxy said, as long as an element behind it is still one (RFC 9110 5.6.4). */
static struct str
forwarded_before(const struct request *r)
{
    struct str said = r->peer_trusted ? joined(r, FIELD_FORWARDED) : STR_NONE;
    bool quoted = false;

    for (size_t i = 0; i < said.n; i++) {
        if (said.p[i] == '"')
            quoted = !quoted;
        else if (said.p[i] == '\\' && quoted)
            i++;
    }
    return quoted ? STR_NONE : said;
}

/* RFC 9110 7.6.3 */
static struct str
received_by(const struct request *r)
{
    if (str_eq(r->protocol, STR("HTTP/2.0")))
        return STR("2.0 " OUR_NAME);
    return r->minor == 0 ? STR("1.0 " OUR_NAME) : STR("1.1 " OUR_NAME);
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
        host = last_value(r, FIELD_X_FORWARDED_HOST);
    if (host.n == 0)
        host = r->host_field;
    if (host.n > 0)
        fields_add_id(to, FIELD_X_FORWARDED_HOST, host);
    fields_add_id(to, FIELD_FORWARDED,
                  appended(r, forwarded_before(r), element(r, peer, r->host_field)));
    fields_add_id(to, FIELD_VIA, appended(r, joined(r, FIELD_VIA), received_by(r)));
    fields_add_id(to, FIELD_X_REQUEST_ID, r->id);
}

/* What the file sets stays as it is. */
static void
replace(struct fields *f, enum field_id id, struct str value)
{
    const struct field *there = fields_find_id(f, id);

    if (there != NULL && there->fixed)
        return;
    fields_remove_id(f, id);
    if (value.n > 0)
        fields_add_id(f, id, value);
}

void
forwarded_alone(struct request *r)
{
    struct fields *f = &r->forward;
    char *buf = arena_alloc(r->arena, ADDRESS_MOST), *of_client = arena_alloc(r->arena, ADDRESS_MOST);
    struct str peer = peer_text(r, buf), client = {of_client, ip_format(&r->client, of_client)};

    if (!r->peer_trusted)
        return;
    if (r->client.family != 0 && r->client.family != IP_UNKNOWN && !ip_equal(&r->client, &r->peer))
        peer = appended(r, client, peer);
    replace(f, FIELD_X_FORWARDED_FOR, peer);
    replace(f, FIELD_X_FORWARDED_HOST, r->host_field);
    replace(f, FIELD_FORWARDED, element(r, peer_text(r, buf), r->host_field));
}

#define PREFIX "x-forwarded-"
#define DISGUISED_MOST 32       /* longer than any name with an id */

/* The name as an origin reads it that takes `_` for `-`, as CGI makes many do. */
static struct str
undisguised(struct str name, char *buf)
{
    size_t n = name.n < DISGUISED_MOST ? name.n : DISGUISED_MOST;

    for (size_t i = 0; i < n; i++)
        buf[i] = name.p[i] == '_' ? '-' : name.p[i];
    return (struct str){buf, n};
}

static bool
has_prefix(struct str name)
{
    return (name.p[0] | 0x20) == 'x' && name.n >= sizeof PREFIX - 1 &&
           strncasecmp(name.p, PREFIX, sizeof PREFIX - 1) == 0;
}

bool
forwarded_is_ours(const struct request *r, const struct field *f)
{
    char buf[DISGUISED_MOST];
    struct str name;

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
    if (memchr(f->name.p, '_', f->name.n) == NULL)
        return has_prefix(f->name) && !r->peer_trusted;
    name = undisguised(f->name, buf);
    return has_prefix(name) || (f->name.n < DISGUISED_MOST && field_id(name) != FIELD_OTHER);
}

/* received-protocol RWS received-by [ RWS comment ] */
static bool
is_by_us(struct str member)
{
    const char *space = memchr(member.p, ' ', member.n);
    struct str by;

    if (space == NULL)
        return false;
    by = str_trim((struct str){space, (size_t)(member.p + member.n - space)});
    if ((space = memchr(by.p, ' ', by.n)) != NULL)
        by.n = (size_t)(space - by.p);
    return str_ieq(by, STR(OUR_NAME));
}

/* Every comma separates here: a quote that a client put before our names must not hide them. */
bool
forwarded_loops(const struct request *r)
{
    struct str list = joined(r, FIELD_VIA);
    unsigned n = 0;

    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t size = comma != NULL ? (size_t)(comma - list.p) : list.n;

        n += is_by_us(str_trim((struct str){list.p, size}));
        size += comma != NULL;
        list = (struct str){list.p + size, list.n - size};
    }
    return n > LOOPS_MOST;
}
