/*
 * Every key of the core, its type, default and line of help: what weir.yaml(5) tells at length. The
 * order is that of the reference.
 */
#include "master/keys.h"

#include "master/loader.h"
#include "master/values.h"
#include "shm/cache.h"
#include "worker/request.h"

#define YEAR (INT64_C(365) * 86400000)
#define KIB INT64_C(1024)
#define MIB (1024 * KIB)

/* What a custom key wants. */
#define WANTS(text) .words = (const char *const[]){text, NULL}

#define DURATION(member, text, what) \
    {.name = #member, .type = KEY_DURATION, .offset = offsetof(struct timeouts, member), .def = text, .help = what, \
     .max = YEAR

static const struct key limits[] = {
    {.name = "connections", .type = KEY_INT, .offset = offsetof(struct limits, connections), .def = "16384",
     .help = "client connections, a worker", .levels = KEY_TOP, .min = 1, .max = 1 << 20},
    {.name = "connections_per_ip", .type = KEY_INT, .offset = offsetof(struct limits, connections_per_ip), .def = "0",
     .help = "of one client address, over all workers; trusted proxies are exempt; 0: no limit", .levels = KEY_TOP,
     .max = 1 << 20},
    {.name = "request_line", .type = KEY_SIZE, .offset = offsetof(struct limits, request_line), .def = "8k",
     .help = "longer: 414", .levels = KEY_TOP, .min = 64, .max = MIB},
    {.name = "request_header", .type = KEY_SIZE, .offset = offsetof(struct limits, request_header), .def = "8k",
     .help = "one header line; longer: 431", .levels = KEY_TOP, .min = 64, .max = MIB},
    {.name = "request_headers", .type = KEY_SIZE, .offset = offsetof(struct limits, request_headers),
     .def = "32k", .help = "all header lines; longer: 431", .levels = KEY_TOP, .min = 64, .max = MIB},
    {.name = "request_header_count", .type = KEY_INT, .offset = offsetof(struct limits, request_header_count),
     .def = "100", .help = "more header lines: 431", .levels = KEY_TOP, .min = 1, .max = 10000},
    {.name = "request_body", .type = KEY_SIZE, .offset = offsetof(struct limits, request_body), .def = "16m",
     .help = "longer: 413; 0: no limit"},
    {.name = "response_head", .type = KEY_SIZE, .offset = offsetof(struct limits, response_head), .def = "64k",
     .help = "of an origin; longer: 502", .min = 256, .max = MIB},
    {0},
};

static const struct key timeouts[] = {
    DURATION(client_header, "10s", "for the whole request head"), .levels = KEY_TOP},
    DURATION(client_body, "30s", "between two reads of the request's content")},
    DURATION(client_write, "30s", "between two writes of the response")},
    DURATION(client_idle, "60s", "between two requests"), .levels = KEY_TOP},
    DURATION(connect, "3s", "to connect to a server")},
    DURATION(upstream, "60s", "until the response's head, and between two reads of its content")},
    DURATION(tunnel, "1h", "with no traffic in either direction")},
    {0},
};

const struct key keys_policy[] = {
    {.name = "limits", .type = KEY_SECTION, .offset = offsetof(struct policy, limits), .def = "{}",
     .help = "what is too much", .levels = KEY_POLICY, .keys = limits},
    {.name = "timeouts", .type = KEY_SECTION, .offset = offsetof(struct policy, timeouts), .def = "{}",
     .help = "what is too long; 0: never", .levels = KEY_POLICY, .keys = timeouts},
    {.name = "min_rate", .type = KEY_SIZE, .offset = offsetof(struct policy, min_rate), .def = "500",
     .help = "bytes/s of a client, averaged, once 10 s have passed; 0: any", .levels = KEY_POLICY},
    {.name = "encoded_slash", .type = KEY_CHOICE, .offset = offsetof(struct policy, encoded_slash),
     .def = "keep", .help = "reject: %2F in a path is 400", .levels = KEY_POLICY,
     .words = (const char *const[]){"keep", "reject", NULL}},
    {.name = "buffer", .type = KEY_SIZE, .offset = offsetof(struct policy, buffer), .def = "64k",
     .help = "how far a response may run ahead of its client", .levels = KEY_POLICY, .min = KIB, .max = 16 * MIB},
    {0},
};

static const struct key certificate[] = {
    {.name = "cert", .type = KEY_FILE, .offset = offsetof(struct certificate, cert),
     .help = "the certificate, as PEM, then those that issued it, but for the root"},
    {.name = "key", .type = KEY_FILE, .offset = offsetof(struct certificate, key),
     .help = "its private key, as PEM, without a passphrase"},
    {.name = "ocsp", .type = KEY_FILE, .offset = offsetof(struct certificate, ocsp), .def = "",
     .help = "an OCSP response to staple, as DER; default asked for where the certificate says whom"},
    {0},
};

static const struct key listener_tls[] = {
    {.name = "certificates", .type = KEY_LIST, .offset = offsetof(struct listener_tls, certificates),
     .help = "chosen by SNI; the first is the default", .keys = certificate, .size = sizeof(struct certificate),
     .line = offsetof(struct certificate, line) + 1},
    {.name = "min_version", .type = KEY_CHOICE, .offset = offsetof(struct listener_tls, min_version), .def = "1.2",
     .help = "the oldest TLS that is spoken", .words = (const char *const[]){"1.2", "1.3", NULL}},
    {.name = "ciphers", .type = KEY_STRING, .offset = offsetof(struct listener_tls, ciphers), .def = "",
     .help = "in OpenSSL's syntax; default ECDHE with AES-GCM or ChaCha20-Poly1305"},
    {.name = "alpn", .type = KEY_CUSTOM, .def = "[h2, http/1.1]", .help = "what is spoken, the best first",
     .custom = load_alpn, WANTS("a list of h2 and http/1.1")},
    {.name = "client_ca", .type = KEY_FILE, .offset = offsetof(struct listener_tls, client_ca), .def = "",
     .help = "who issues clients' certificates, as PEM"},
    {.name = "client_verify", .type = KEY_CHOICE, .offset = offsetof(struct listener_tls, client_verify),
     .def = "none", .help = "whether clients are asked for a certificate, and must have one",
     .words = (const char *const[]){"none", "optional", "require", NULL}},
    {0},
};

static const struct key listener[] = {
    {.name = "address", .type = KEY_CUSTOM, .help = "where to listen", .custom = load_listen_address,
     WANTS("ADDRESS:PORT, [IPV6]:PORT or unix:/path")},
    {.name = "name", .type = KEY_STRING, .offset = offsetof(struct listener, name), .def = "",
     .help = "by which sites say that they are on it"},
    {.name = "proxy_protocol", .type = KEY_BOOL, .offset = offsetof(struct listener, proxy_protocol),
     .def = "false", .help = "true: a PROXY header, v1 or v2, is required, from a trusted proxy"},
    {.name = "h2c", .type = KEY_BOOL, .offset = offsetof(struct listener, h2c), .def = "false",
     .help = "true: HTTP/2 in the clear, by prior knowledge, beside HTTP/1"},
    {.name = "tls", .type = KEY_SECTION, .offset = offsetof(struct listener, tls), .def = "",
     .help = "TLS with clients", .keys = listener_tls, .off = true},
    {0},
};

static const struct key server[] = {
    {.name = "address", .type = KEY_CUSTOM, .help = "where it is", .custom = load_server_address,
     WANTS("ADDRESS:PORT, [IPV6]:PORT, NAME:PORT or unix:/path")},
    {.name = "weight", .type = KEY_INT, .offset = offsetof(struct server, weight), .def = "1",
     .help = "its share of the requests", .min = 1, .max = 1000},
    {.name = "max_connections", .type = KEY_INT, .offset = offsetof(struct server, max_connections), .def = "0",
     .help = "requests at once, over all workers; 0: any", .max = 1 << 20},
    {.name = "slow_start", .type = KEY_DURATION, .offset = offsetof(struct server, slow_start), .def = "0",
     .help = "how long its share grows once it has come back", .max = YEAR},
    {.name = "backup", .type = KEY_BOOL, .offset = offsetof(struct server, backup), .def = "false",
     .help = "true: asked only while no other server is up"},
    {0},
};

static const struct key queue[] = {
    {.name = "size", .type = KEY_INT, .offset = offsetof(struct waiting, size), .def = "100",
     .help = "requests that wait at once, over all workers; 0: none does", .max = 1 << 20},
    {.name = "timeout", .type = KEY_DURATION, .offset = offsetof(struct waiting, timeout), .def = "1s",
     .help = "then: 503", .min = 1, .max = YEAR},
    {0},
};

static const struct key checks[] = {
    {.name = "http", .type = KEY_CUSTOM, .offset = offsetof(struct checks, http), .def = "",
     .help = "the target of a GET whose status is looked at", .custom = load_check_target,
     WANTS("a path, with a query or without")},
    {.name = "tcp", .type = KEY_BOOL, .offset = offsetof(struct checks, tcp), .def = "false",
     .help = "true: to connect is enough"},
    {.name = "host", .type = KEY_CUSTOM, .offset = offsetof(struct checks, host), .def = "",
     .help = "Host of the check; default the server, as written", .custom = load_check_host, WANTS("a host")},
    {.name = "interval", .type = KEY_DURATION, .offset = offsetof(struct checks, interval), .def = "2s",
     .help = "between two checks of a server", .min = 50, .max = YEAR},
    {.name = "timeout", .type = KEY_DURATION, .offset = offsetof(struct checks, timeout), .def = "1s",
     .help = "for a whole check", .min = 10, .max = YEAR},
    {.name = "rise", .type = KEY_INT, .offset = offsetof(struct checks, rise), .def = "2",
     .help = "good checks in a row until it is up", .min = 1, .max = 1000},
    {.name = "fall", .type = KEY_INT, .offset = offsetof(struct checks, fall), .def = "3",
     .help = "bad checks in a row until it is down", .min = 1, .max = 1000},
    {.name = "expect", .type = KEY_CUSTOM, .offset = offsetof(struct checks, expect), .def = "200-399",
     .help = "the status of a good check", .custom = load_expect,
     WANTS("a status or a range as 200-399, or a list of them")},
    {0},
};

static const struct key ejection[] = {
    {.name = "failures", .type = KEY_INT, .offset = offsetof(struct ejection, failures), .def = "3",
     .help = "in a row within `window`: connect, reset, timeout, malformed; 0: never", .max = 1000000},
    {.name = "window", .type = KEY_DURATION, .offset = offsetof(struct ejection, window), .def = "10s",
     .help = "in which they count", .min = 1, .max = YEAR},
    {.name = "for", .type = KEY_DURATION, .offset = offsetof(struct ejection, time), .def = "10s",
     .help = "how long it gets no requests; doubling each time, up to 5m", .min = 1, .max = YEAR},
    {.name = "max_ejected", .type = KEY_PERCENT, .offset = offsetof(struct ejection, max_ejected), .def = "50%",
     .help = "of the servers at most; never the last one", .max = 100},
    {0},
};

const char *const keys_retry_on[] = {"connect", "reset", "timeout", "502", "503", "504", NULL};

static const struct key retries[] = {
    {.name = "attempts", .type = KEY_INT, .offset = offsetof(struct retries, attempts), .def = "1",
     .help = "on top of the first; 0: none", .max = RETRIES_MOST},
    {.name = "on", .type = KEY_CUSTOM, .offset = offsetof(struct retries, on),
     .def = "[connect, reset, timeout, 502, 503, 504]", .help = "after which failures", .custom = load_retry_on,
     WANTS("a list of connect, reset, timeout, 502, 503 and 504")},
    {.name = "budget", .type = KEY_PERCENT, .offset = offsetof(struct retries, budget), .def = "20%",
     .help = "of the upstream's requests of the last 10 s, at least 3", .max = 100},
    {0},
};

static const struct key upstream_tls[] = {
    {.name = "verify", .type = KEY_BOOL, .offset = offsetof(struct upstream_tls, verify), .def = "true",
     .help = "false: whatever certificate the server has, it is talked to"},
    {.name = "ca", .type = KEY_FILE, .offset = offsetof(struct upstream_tls, ca), .def = "",
     .help = "whom to trust, as PEM; default the authorities that the system trusts"},
    {.name = "server_name", .type = KEY_CUSTOM, .offset = offsetof(struct upstream_tls, server_name), .def = "",
     .help = "asked for (SNI) and verified; default the server's name or address, as written",
     .custom = load_server_name, WANTS("a name or an address, without a port")},
    {.name = "cert", .type = KEY_FILE, .offset = offsetof(struct upstream_tls, cert), .def = "",
     .help = "weir's own certificate, as PEM, then those that issued it, but for the root"},
    {.name = "key", .type = KEY_FILE, .offset = offsetof(struct upstream_tls, key), .def = "",
     .help = "its private key, as PEM, without a passphrase"},
    {0},
};

static const char *const protocols[] = {"http/1.1", "h2", "h2c", NULL};

const char *const keys_balance[] = {"round_robin", "least_conn", "random_two", "ip_hash", "hash", NULL};

static const struct key upstream[] = {
    {.name = "servers", .type = KEY_LIST, .offset = offsetof(struct upstream, servers), .help = "who answers",
     .keys = server, .size = sizeof(struct server), .line = offsetof(struct server, line) + 1},
    {.name = "balance", .type = KEY_CHOICE, .offset = offsetof(struct upstream, balance), .def = "round_robin",
     .help = "which server gets a request", .words = keys_balance},
    {.name = "hash_key", .type = KEY_TEMPLATE, .offset = offsetof(struct upstream, hash_key), .def = "",
     .help = "by what hash chooses", .early = true, .varies = true},
    {.name = "hash_balance", .type = KEY_CUSTOM, .offset = offsetof(struct upstream, hash_balance), .def = "off",
     .help = "the most requests at once of a server, as a multiple of the mean, before ip_hash and hash go on to "
             "the next", .custom = load_hash_balance, WANTS("a number from 1 to 100 as 1.25, or off")},
    {.name = "queue", .type = KEY_SECTION, .offset = offsetof(struct upstream, queue), .def = "{}",
     .help = "requests that wait while every server is at max_connections", .keys = queue, .off = true},
    {.name = "health", .type = KEY_SECTION, .offset = offsetof(struct upstream, health), .def = "",
     .help = "active checks", .keys = checks, .off = true},
    {.name = "eject", .type = KEY_SECTION, .offset = offsetof(struct upstream, eject), .def = "{}",
     .help = "servers that fail requests get none for a while", .keys = ejection, .off = true},
    {.name = "retry", .type = KEY_SECTION, .offset = offsetof(struct upstream, retry), .def = "{}",
     .help = "what one server failed is sent to another", .keys = retries, .off = true},
    {.name = "keepalive", .type = KEY_INT, .offset = offsetof(struct upstream, keepalive), .def = "64",
     .help = "idle connections kept, a server and worker", .max = 65536},
    {.name = "keepalive_timeout", .type = KEY_DURATION, .offset = offsetof(struct upstream, keepalive_timeout),
     .def = "4s", .help = "how long one is kept; shorter than the servers'", .max = YEAR},
    {.name = "tls", .type = KEY_SECTION, .offset = offsetof(struct upstream, tls), .def = "",
     .help = "servers are talked to over TLS; {}: as by default", .keys = upstream_tls, .off = true},
    {.name = "protocol", .type = KEY_CHOICE, .offset = offsetof(struct upstream, protocol), .def = "http/1.1",
     .help = "h2: HTTP/2 over TLS; h2c: HTTP/2 without", .words = protocols},
    {0},
};

static const struct key match[] = {
    {.name = "path", .type = KEY_CUSTOM, .offset = offsetof(struct match, path), .def = "",
     .help = "the whole canonical path", .custom = load_path, WANTS("a canonical path")},
    {.name = "prefix", .type = KEY_CUSTOM, .offset = offsetof(struct match, prefix), .def = "",
     .help = "the path or a folder above it: /old/ takes /old and /old/x, never /older",
     .custom = load_prefix, WANTS("a canonical path")},
    {.name = "regex", .type = KEY_REGEX, .offset = offsetof(struct match, regex), .def = "",
     .help = "PCRE2, on the canonical path"},
    {.name = "methods", .type = KEY_CUSTOM, .offset = offsetof(struct match, methods), .def = "",
     .help = "the request's method", .custom = load_methods, WANTS("a list of methods")},
    {.name = "scheme", .type = KEY_CHOICE, .offset = offsetof(struct match, scheme), .def = "",
     .help = "as $scheme says", .words = (const char *const[]){"", "http", "https", NULL}},
    {.name = "headers", .type = KEY_CUSTOM, .offset = offsetof(struct match, headers), .def = "",
     .help = "fields of the request", .custom = load_conditions, WANTS("a mapping of names to values or ~regex")},
    {.name = "query", .type = KEY_CUSTOM, .offset = offsetof(struct match, query), .def = "",
     .help = "parameters of the query", .custom = load_conditions, WANTS("a mapping of names to values or ~regex")},
    {.name = "cookies", .type = KEY_CUSTOM, .offset = offsetof(struct match, cookies), .def = "",
     .help = "cookies of the request", .custom = load_conditions, WANTS("a mapping of names to values or ~regex")},
    {0},
};

const struct key keys_route[] = {
    {.name = "match", .type = KEY_SECTION, .offset = offsetof(struct route, match), .def = "{}",
     .help = "every condition must hold; none: any request", .levels = KEY_ROUTE, .keys = match},
    {.name = "name", .type = KEY_STRING, .offset = offsetof(struct route, name), .def = "",
     .help = "in $route and statistics; default the conditions as written", .levels = KEY_ROUTE},
    {.name = "proxy", .type = KEY_CUSTOM, .offset = offsetof(struct route, proxy), .def = "",
     .help = "whose servers answer", .levels = KEY_ROUTE, .custom = load_proxy,
     WANTS("the name of an upstream")},
    {0},
};

const struct key keys_site[] = {
    {.name = "hosts", .type = KEY_CUSTOM, .offset = offsetof(struct site, hosts),
     .help = "names, *.example.com for all below it, or * for any", .levels = KEY_SITE, .custom = load_hosts,
     WANTS("a list of hosts")},
    {.name = "listen", .type = KEY_CUSTOM, .offset = offsetof(struct site, listen), .def = "",
     .help = "names of the listeners that it is on; default all", .levels = KEY_SITE,
     .custom = load_site_listen, WANTS("a list of names of listeners")},
    {.name = "routes", .type = KEY_CUSTOM, .offset = offsetof(struct site, routes),
     .help = "tried in this order; none matches: 404", .levels = KEY_SITE, .keys = keys_route,
     .custom = load_routes, WANTS("a list of routes")},
    {0},
};

static const struct key cache_memory[] = {
    {.name = "size", .type = KEY_SIZE, .offset = offsetof(struct cache_memory, size), .def = "256m",
     .help = "taken at start; another one waits for a restart", .min = CACHE_SIZE_LEAST, .max = 1024 * 1024 * MIB},
    {.name = "max_object", .type = KEY_SIZE, .offset = offsetof(struct cache_memory, max_object), .def = "",
     .help = "the largest that is stored, head and content; default 16m, at most 1/16 of size", .min = KIB,
     .max = 1024 * 1024 * MIB},
    {.name = "file", .type = KEY_FILE, .offset = offsetof(struct cache_memory, file), .def = "",
     .help = "keeps it over a restart"},
    {0},
};

const struct key keys_top[] = {
    {.name = "user", .type = KEY_CUSTOM, .def = "www-data", .help = "workers drop to it when the master is root",
     .levels = KEY_TOP, .custom = load_user, WANTS("a user or user:group")},
    {.name = "workers", .type = KEY_CUSTOM, .offset = offsetof(struct conf, workers), .def = "auto",
     .help = "how many; auto: one for each CPU that the master may run on", .levels = KEY_TOP, .max = 256,
     .min = 1, .custom = load_workers, WANTS("auto or a whole number from 1 to 256")},
    {.name = "pid_file", .type = KEY_FILE, .offset = offsetof(struct conf, pid_file), .def = "/run/weir.pid",
     .help = "of the master", .levels = KEY_TOP},
    {.name = "stats_file", .type = KEY_FILE, .offset = offsetof(struct conf, stats_file),
     .def = "/run/weir/weir.prom", .help = "statistics, in Prometheus' text format", .levels = KEY_TOP},
    {.name = "stats_interval", .type = KEY_DURATION, .offset = offsetof(struct conf, stats_interval),
     .def = "1s", .help = "how often they are written", .levels = KEY_TOP, .min = 100, .max = YEAR},
    {.name = "error_log", .type = KEY_LOG, .offset = offsetof(struct conf, error_log),
     .def = "/var/log/weir/error.log", .help = "what goes wrong", .levels = KEY_TOP},
    {.name = "log_level", .type = KEY_CHOICE, .offset = offsetof(struct conf, log_level), .def = "notice",
     .help = "the least that is worth a line there", .levels = KEY_TOP,
     .words = (const char *const[]){"debug", "info", "notice", "warning", "error", NULL}},
    {.name = "drain_timeout", .type = KEY_DURATION, .offset = offsetof(struct conf, drain_timeout),
     .def = "60s", .help = "a retired worker cuts a request on which no byte moved for this long",
     .levels = KEY_TOP, .max = YEAR},
    {.name = "drain_tunnels", .type = KEY_DURATION, .offset = offsetof(struct conf, drain_tunnels),
     .def = "5m", .help = "and ends upgraded connections after this", .levels = KEY_TOP, .max = YEAR},
    {.name = "cache_memory", .type = KEY_SECTION, .offset = offsetof(struct conf, cache_memory), .def = "",
     .help = "what all workers share as a cache; absent: none", .levels = KEY_TOP, .keys = cache_memory, .off = true},
    {.name = "rate_limit_memory", .type = KEY_SIZE, .offset = offsetof(struct conf, rate_limit_memory), .def = "16m",
     .help = "the table behind every rate_limit; another size waits for a restart", .levels = KEY_TOP, .min = 64 * KIB,
     .max = 64 * 1024 * MIB},
    {.name = "resolver", .type = KEY_CUSTOM, .offset = offsetof(struct conf, resolver), .def = "",
     .help = "name servers for the names of servers; default those of the system", .levels = KEY_TOP,
     .custom = load_resolver, WANTS("a list of ADDRESS, ADDRESS:PORT or [IPV6]:PORT")},
    {.name = "trusted_proxies", .type = KEY_NETWORKS, .offset = offsetof(struct conf, trusted_proxies),
     .def = "[]", .help = "whose X-Forwarded-*, Forwarded and PROXY header are believed", .levels = KEY_TOP},
    {.name = "listen", .type = KEY_LIST, .offset = offsetof(struct conf, listeners), .help = "where clients connect",
     .levels = KEY_TOP, .keys = listener, .size = sizeof(struct listener),
     .line = offsetof(struct listener, line) + 1},
    {.name = "upstreams", .type = KEY_NAMED, .offset = offsetof(struct conf, upstreams), .def = "{}",
     .help = "groups of servers, by name", .levels = KEY_TOP, .keys = upstream, .size = sizeof(struct upstream)},
    {.name = "sites", .type = KEY_CUSTOM, .offset = offsetof(struct conf, sites),
     .help = "chosen by listener and host: an exact name first, then the longest wildcard, then *; none: 421",
     .levels = KEY_TOP, .keys = keys_site, .custom = load_sites, WANTS("a list of sites")},
    {0},
};

/* Lists are written as a struct key_array: a pointer and its count have to be neighbours. */
#define ARRAY(type, member, count) \
    _Static_assert(offsetof(struct type, count) == offsetof(struct type, member) + offsetof(struct key_array, n), \
                   "a struct key_array")
ARRAY(conf, listeners, listener_count);
ARRAY(conf, upstreams, upstream_count);
ARRAY(conf, sites, site_count);
ARRAY(upstream, servers, server_count);
ARRAY(site, routes, route_count);

static const char *const words[] = {
    [KEY_BOOL] = "true or false",
    [KEY_INT] = "a whole number",
    [KEY_SIZE] = "a size",
    [KEY_DURATION] = "a duration",
    [KEY_STRING] = "a string",
    [KEY_FILE] = "an absolute path, or off",
    [KEY_RATE] = "a rate as 10/s, 600/m or 5000/h",
    [KEY_EDITS] = "a mapping of field names to strings ($), ~, {add: ($)} or {default: ($)}",
    [KEY_STATUSES] = "a mapping of statuses to durations",
    [KEY_LOG] = "an absolute path, stderr or syslog",
    [KEY_TEMPLATE] = "a string ($)",
    [KEY_TEMPLATES] = "a mapping of names to strings ($)",
    [KEY_STRINGS] = "a list of strings",
    [KEY_NETWORKS] = "a list of networks",
    [KEY_REGEX] = "a regular expression",
    [KEY_SECTION] = "a mapping",
    [KEY_LIST] = "a list of mappings",
    [KEY_NAMED] = "a mapping of names to mappings",
};

static struct str
bound_text(const struct key *k, int64_t bound, struct arena *a)
{
    if (k->type == KEY_SIZE)
        return values_size_text(bound, a);
    if (k->type == KEY_DURATION)
        return values_duration_text(bound, a);
    return arena_printf(a, "%lld", (long long)bound);
}

/* A bound that nobody would meet is not worth a word. */
static struct str
number_text(const struct key *k, struct arena *a)
{
    bool far = k->max == 0 || (k->type == KEY_DURATION && k->max == YEAR);
    struct str min, max;

    if (far && k->min == 0)
        return str_of(words[k->type]);
    min = bound_text(k, k->min, a);
    if (far)
        return arena_printf(a, "%s of at least %.*s", words[k->type], STR_ARG(min));
    max = bound_text(k, k->max, a);
    return arena_printf(a, "%s from %.*s to %.*s", words[k->type], STR_ARG(min), STR_ARG(max));
}

/* Words that are empty stand for what nobody can write. */
static struct str
choice_text(const struct key *k, struct arena *a)
{
    struct str text = STR("");

    for (const char *const *w = k->words; *w != NULL; w++)
        if (**w != '\0')
            text = arena_printf(a, "%.*s%s%s", STR_ARG(text), text.n == 0 ? "" : w[1] ? ", " : " or ", *w);
    return text;
}

struct str
keys_wants(const struct key *k, struct arena *a)
{
    switch (k->type) {
    case KEY_PERCENT:
        return arena_printf(a, "a percentage from %lld%% to %lld%%", (long long)k->min, (long long)k->max);
    case KEY_INT:
    case KEY_SIZE:
    case KEY_DURATION:
        return number_text(k, a);
    case KEY_CHOICE:
        return choice_text(k, a);
    case KEY_CUSTOM:
        return str_of(k->words[0]);
    case KEY_SECTION:
        return k->off ? STR("a mapping, or off") : str_of(words[KEY_SECTION]);
    default:
        return str_of(words[k->type]);
    }
}
