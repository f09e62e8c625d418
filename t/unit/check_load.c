/*
 * Text in, configuration or exact messages out. The registry of modules is this file's own: loading
 * is tested with what modules may be, whatever weir's are.
 */
#include <check.h>
#include <stdlib.h>

#include "master/keys.h"
#include "master/load.h"
#include "master/values.h"
#include "t/unit/unit.h"

static struct findings f;
static struct conf *conf;

/* A policy with a bit of everything, in use only where it is written. */
struct note {
    int64_t number;
    struct str text;
    struct template *string;
    struct template_map map;
    struct status_times times;
    struct {
        bool deep;
        int64_t wait;
    } inner;
    int made_ready;             /* by `ready` */
};

static const struct key note_inner[] = {
    {.name = "deep", .type = KEY_BOOL, .offset = 0, .def = "false", .help = "deep"},
    {.name = "wait", .type = KEY_DURATION, .offset = 8, .def = "1s", .help = "wait"},
    {0},
};

static const struct key note_keys[] = {
    {.name = "number", .type = KEY_INT, .offset = offsetof(struct note, number), .def = "5", .help = "number"},
    {.name = "text", .type = KEY_STRING, .offset = offsetof(struct note, text), .def = "none", .help = "text"},
    {.name = "string", .type = KEY_TEMPLATE, .offset = offsetof(struct note, string), .def = "", .help = "string"},
    {.name = "map", .type = KEY_TEMPLATES, .offset = offsetof(struct note, map), .def = "", .help = "map"},
    {.name = "times", .type = KEY_STATUSES, .offset = offsetof(struct note, times), .def = "", .help = "times"},
    {.name = "inner", .type = KEY_SECTION, .offset = offsetof(struct note, inner), .def = "{}", .help = "inner",
     .keys = note_inner},
    {0},
};

static int readied;

static void
note_ready(struct ready *ready, void *at)
{
    struct note *note = at;

    readied++;
    note->made_ready++;
    if (note->number == 13)
        ready->error(ready, "%d is no good", 13);
}

static int
next(struct request *r, const void *at)
{
    (void)r;
    (void)at;
    return HOOK_NEXT;
}

static const struct module note_module = {
    .key = {.name = "note", .type = KEY_SECTION, .def = "", .help = "note", .levels = KEY_POLICY, .keys = note_keys},
    .conf_size = sizeof(struct note),
    .ready = note_ready,
    .hook = {[PHASE_GUARD] = next, [PHASE_EDIT] = next},
};

/* A policy that is a list. */
static const struct module words_module = {
    .key = {.name = "words", .type = KEY_STRINGS, .def = "", .help = "words", .levels = KEY_POLICY},
    .conf_size = sizeof(struct str_list),
    .hook = {[PHASE_EDIT] = next},
};

/* A policy that is in use unless it is off. */
struct diary {
    unsigned log;
};

static const struct key diary_keys[] = {
    {.name = "path", .type = KEY_LOG, .offset = 0, .def = "/var/diary", .help = "path"},
    {0},
};

static const struct module diary_module = {
    .key = {.name = "diary", .type = KEY_SECTION, .def = "{}", .help = "diary", .levels = KEY_POLICY,
            .keys = diary_keys},
    .conf_size = sizeof(struct diary),
    .hook = {[PHASE_LOG] = next},
};

/* Two that answer. */
struct answer {
    int64_t status;
    struct template *body;
};

static const struct key answer_keys[] = {
    {.name = "status", .type = KEY_INT, .offset = offsetof(struct answer, status), .def = "200", .help = "status",
     .min = 200, .max = 599},
    {.name = "body", .type = KEY_TEMPLATE, .offset = offsetof(struct answer, body), .def = "", .help = "body"},
    {0},
};

static const struct module say_module = {
    .key = {.name = "say", .type = KEY_SECTION, .def = "", .help = "say", .levels = KEY_ROUTE, .keys = answer_keys},
    .conf_size = sizeof(struct answer),
    .answers = true,
    .hook = {[PHASE_LOOKUP] = next},
};

static const struct module send_module = {
    .key = {.name = "send", .type = KEY_SECTION, .def = "", .help = "send", .levels = KEY_ROUTE, .keys = answer_keys},
    .conf_size = sizeof(struct answer),
    .answers = true,
    .hook = {[PHASE_LOOKUP] = next},
};

enum { NOTE, WORDS, DIARY, SAY, SEND };

const struct module *const modules[] = {&note_module, &words_module, &diary_module, &say_module, &send_module, NULL};

static void
set_up(void)
{
    f = (struct findings){.arena = arena_new()};
    conf = NULL;
    readied = 0;
}

static void
tear_down(void)
{
    conf_free(conf);
    arena_free(f.arena);
}

/* All that was found, a line each. */
static struct str
found(void)
{
    struct str s = STR("");

    for (size_t i = 0; i < f.n; i++)
        s = arena_printf(f.arena, "%.*s%.*s\n", STR_ARG(s), STR_ARG(f.v[i].text));
    return s;
}

static void
load(const char *text)
{
    struct str messages;

    conf_free(conf);
    conf = load_text("f", str_of(text), &f);
    messages = found();
    ck_assert_msg(conf != NULL && f.n == 0, "%.*s", STR_ARG(messages));
}

static void
same(struct str s, const char *want)
{
    ck_assert_msg(str_eq(s, str_of(want)), "%.*s is not %s", STR_ARG(s), want);
}

#define LISTEN "listen: 0.0.0.0:80\n"
#define APP "upstreams: {app: {servers: 10.0.0.1:80}}\n"
#define SITES "sites: [{hosts: '*', routes: [{say: {}}]}]\n"
#define ROUTE "listen: 0.0.0.0:80\nsites:\n- hosts: '*'\n  routes:\n  - say: {}\n"

/* Each with all its findings, in their order. The first keys stand on the first lines. */
static const struct {
    const char *text;
    const char *want;
} bad[] = {
    /* the file as a whole */
    {"", "f:1:1: `listen` is missing\nf:1:1: `sites` is missing\n"},
    {"# nothing\n", "f:1:1: `listen` is missing\nf:1:1: `sites` is missing\n"},
    {"- a\n", "f:1:1: a configuration is a mapping of keys to values\n"},
    {"a: [\n", "f:2:1: no YAML: did not find expected node content, while parsing a flow node\n"},
    {"a: &x [*x]\n", "f:1:8: alias `*x` stands within what it names\n"},
    {"listen: 0.0.0.0:80\n---\n", "f:2:1: a second document\n"},

    /* names of keys */
    {"worker: 1\n" LISTEN SITES, "f:1:1: unknown key `worker`; did you mean `workers`?\n"},
    {"rate_limit_memry: 1m\nrate_limit_memory: 1k\n" LISTEN SITES,
     "f:1:1: unknown key `rate_limit_memry`; did you mean `rate_limit_memory`?\n"
     "f:2:20: `rate_limit_memory` wants a size from 64k to 64g, not `1k`\n"},
    {"cache_memory: 64m\n" LISTEN SITES,
     "f:1:15: `cache_memory` wants a mapping, or off, not `64m`; did you mean `{size: 64m}`?\n"},
    {"cache_memory: {size: 512k, file: cache}\n" LISTEN SITES,
     "f:1:22: `size` wants a size from 1m to 1024g, not `512k`\nf:1:34: `file` wants an absolute path, or off, not "
     "`cache`\n"},
    {"cache_memory: {size: 1m, max_object: 65537}\n" LISTEN SITES,
     "f:1:38: `max_object` wants at most 1/16 of `size`, which is 64k\n"},
    {"note: {times: {200: 1m, 199: 1m, 600: 1s, 0200: 1s, ok: 1s, 404: 5, 301: ~, 302: [1s], 200: 2m}}\n" LISTEN SITES,
     "f:1:25: `times`: `199` is no status from 200 to 599\n"
     "f:1:34: `times`: `600` is no status from 200 to 599\n"
     "f:1:43: `times`: `0200` is no status from 200 to 599\n"
     "f:1:53: `times`: `ok` is no status from 200 to 599\n"
     "f:1:66: `times` wants a duration as 500ms, 5s, 10m, 1h, 7d or 0, not `5`\n"
     "f:1:74: `times` wants a duration, not nothing\n"
     "f:1:82: `times` wants a duration, not a list\n"
     "f:1:88: `200` stands twice, first on line 1\n"},
    {"note: {times: 5m}\n" LISTEN SITES,
     "f:1:15: `times` wants a mapping of statuses to durations, not `5m`; did you mean `{200: 5m}`?\n"},
    {"limits: {connections_per_i: 5}\n" LISTEN SITES,
     "f:1:10: unknown key `connections_per_i`; did you mean `connections_per_ip`?\n"},
    {"notes: {}\n" LISTEN SITES, "f:1:1: unknown key `notes`; did you mean `note`?\n"},
    {"connections_per_ip: 5\n" LISTEN SITES,
     "f:1:1: unknown key `connections_per_ip`; it belongs elsewhere: `limits.connections_per_ip` (at the top level)\n"},
    {ROUTE "    prefix: /x\n    health: {}\n",
     "f:6:5: unknown key `prefix`; it belongs elsewhere: `sites[].routes[].match.prefix`\n"
     "f:7:5: unknown key `health`; it belongs elsewhere: `upstreams.NAME.health`\n"},
    {"limits: {connections:5}\n" LISTEN SITES,
     "f:1:10: unknown key `connections:5`; a space has to stand behind the colon\n"},
    {"note: {numbr: 5}\n" LISTEN SITES, "f:1:8: unknown key `numbr`; did you mean `number`?\n"},
    {"note: {inner: {dep: true}}\n" LISTEN SITES, "f:1:16: unknown key `dep`; did you mean `deep`?\n"},
    {"\"a\\nb\": 1\n" LISTEN SITES, "f:1:1: unknown key `a?b`\n"},
    {"<<: {a: 1}\n" LISTEN SITES, "f:1:1: unknown key `<<`\n"},
    {"workers: 1\nworkers: 2\n" LISTEN SITES, "f:2:1: `workers` stands twice, first on line 1\n"},
    {"note: {number: 1, number: 2}\n" LISTEN SITES, "f:1:19: `number` stands twice, first on line 1\n"},
    {"say: {}\n" LISTEN SITES, "f:1:1: `say` may not stand at the top level, only in routes\n"},
    {"proxy: app\n" LISTEN SITES, "f:1:1: `proxy` may not stand at the top level, only in routes\n"},
    {"hosts: a\n" LISTEN SITES, "f:1:1: `hosts` may not stand at the top level, only in sites\n"},
    {ROUTE "    workers: 1\n", "f:6:5: `workers` may not stand in a route, only at the top level\n"},
    {ROUTE "    listen: a\n", "f:6:5: `listen` may not stand in a route, only at the top level and in sites\n"},
    {ROUTE "    limits: {request_line: 4k}\n",
     "f:6:14: `request_line` may not stand in a route, only at the top level\n"},
    {ROUTE "    timeouts: {client_idle: 4s}\n",
     "f:6:16: `client_idle` may not stand in a route, only at the top level\n"},
    {LISTEN "sites: [{hosts: a, user: b, routes: [{say: {}}]}]\n",
     "f:2:20: `user` may not stand in a site, only at the top level\n"},
    {ROUTE "    cache: {}\n    allow: 10.0.0.0/8\n", "f:6:5: unknown key `cache`\nf:7:5: unknown key `allow`\n"},

    /* types */
    {"workers: [1]\n" LISTEN SITES, "f:1:10: `workers` wants auto or a whole number from 1 to 256, not a list\n"},
    {"workers: 0\n" LISTEN SITES, "f:1:10: `workers` wants auto or a whole number from 1 to 256, not `0`\n"},
    {"workers: 257\n" LISTEN SITES, "f:1:10: `workers` wants auto or a whole number from 1 to 256, not `257`\n"},
    {"workers: many\n" LISTEN SITES, "f:1:10: `workers` wants auto or a whole number from 1 to 256, not `many`\n"},
    {"workers:\n" LISTEN SITES, "f:1:9: `workers` wants auto or a whole number from 1 to 256, not nothing\n"},
    {"user: {}\n" LISTEN SITES, "f:1:7: `user` wants a user or user:group, not a mapping\n"},
    {"user: 'a:'\n" LISTEN SITES, "f:1:7: `user` wants a user or user:group, not `a:`\n"},
    {"user: ':a'\n" LISTEN SITES, "f:1:7: `user` wants a user or user:group, not `:a`\n"},
    {"user: 'a:b:c'\n" LISTEN SITES, "f:1:7: `user` wants a user or user:group, not `a:b:c`\n"},
    {"pid_file: run/weir.pid\n" LISTEN SITES, "f:1:11: `pid_file` wants an absolute path, not `run/weir.pid`\n"},
    {"stats_file: weir.prom\n" LISTEN SITES, "f:1:13: `stats_file` wants an absolute path, or off, not `weir.prom`\n"},
    {"stats_file: ~\n" LISTEN SITES, "f:1:13: `stats_file` wants an absolute path, or off, not nothing\n"},
    {"error_log: ./log\n" LISTEN SITES, "f:1:12: `error_log` wants an absolute path, not `./log`\n"},
    {"error_log: stdout\n" LISTEN SITES,
     "f:1:12: `error_log` wants an absolute path, stderr or syslog, not `stdout`\n"},
    {"log_level: warn\n" LISTEN SITES, "f:1:12: `log_level` wants debug, info, notice, warning or error, not `warn`\n"},
    {"drain_timeout: 5\n" LISTEN SITES,
     "f:1:16: `drain_timeout` wants a duration as 500ms, 5s, 10m, 1h, 7d or 0, not `5`\n"},
    {"drain_timeout: 366d\n" LISTEN SITES, "f:1:16: `drain_timeout` wants at most 365d, not `366d`\n"},
    {"drain_timeout: 9999999999999999999d\n" LISTEN SITES,
     "f:1:16: `drain_timeout` wants a duration as 500ms, 5s, 10m, 1h, 7d or 0, not `9999999999999999999d`\n"},
    {"stats_interval: 99ms\n" LISTEN SITES,
     "f:1:17: `stats_interval` wants a duration of at least 100ms, not `99ms`\n"},
    {"limits: 5\n" LISTEN SITES, "f:1:9: `limits` wants a mapping, not `5`; did you mean `{connections: 5}`?\n"},
    {"limits: off\n" LISTEN SITES, "f:1:9: `limits` wants a mapping, not `off`\n"},
    {"limits: {connections: 1k}\n" LISTEN SITES,
     "f:1:23: `connections` wants a whole number from 1 to 1048576, not `1k`\n"},
    {"limits: {connections: 0}\n" LISTEN SITES,
     "f:1:23: `connections` wants a whole number from 1 to 1048576, not `0`\n"},
    {"limits: {request_body: 1t}\n" LISTEN SITES,
     "f:1:24: `request_body` wants a size as 512, 4k, 64m or 1g, not `1t`\n"},
    {"limits: {request_body: -1}\n" LISTEN SITES,
     "f:1:24: `request_body` wants a size as 512, 4k, 64m or 1g, not `-1`\n"},
    {"buffer: 17m\n" LISTEN SITES, "f:1:9: `buffer` wants a size from 1k to 16m, not `17m`\n"},
    {"buffer: off\n" LISTEN SITES, "f:1:9: `buffer` wants a size as 512, 4k, 64m or 1g, not `off`\n"},
    {"encoded_slash: off\n" LISTEN SITES, "f:1:16: `encoded_slash` wants keep or reject, not `off`\n"},
    {"trusted_proxies: [10.0.0.0/8, 10.0.0.1/8, x, []]\n" LISTEN SITES,
     "f:1:31: `trusted_proxies`: `10.0.0.1/8`: bits are set behind the prefix; did you mean `10.0.0.0/8`?\n"
     "f:1:43: `trusted_proxies`: `x`: not an IP address or a network\n"
     "f:1:46: `trusted_proxies` wants a list of networks; this one is a list\n"},
    {"trusted_proxies: all\n" LISTEN SITES,
     "f:1:18: `trusted_proxies`: `all`: not an IP address or a network; all are [0.0.0.0/0, \"::/0\"]\n"},
    {"trusted_proxies: ['2001:db8::1/33', 10.0.0.1/33]\n" LISTEN SITES,
     "f:1:19: `trusted_proxies`: `2001:db8::1/33`: bits are set behind the prefix; did you mean `2001:db8::/33`?\n"
     "f:1:37: `trusted_proxies`: `10.0.0.1/33`: the prefix length is out of range\n"},
    {"trusted_proxies: {a: b}\n" LISTEN SITES, "f:1:18: `trusted_proxies` wants a list of networks, not a mapping\n"},
    {"trusted_proxies: [[10.0.0.0/8]]\n" LISTEN SITES,
     "f:1:19: `trusted_proxies` wants a list of networks; this one is a list\n"},
    {"words: [a, {b: c}, '', ~]\n" LISTEN SITES,
     "f:1:12: `words` wants a list of strings; this one is a mapping\n"
     "f:1:20: `words` wants a list of strings; this one is empty\n"
     "f:1:24: `words` wants a list of strings; this one is empty\n"},
    {"note: 5\n" LISTEN SITES, "f:1:7: `note` wants a mapping, or off, not `5`; did you mean `{number: 5}`?\n"},
    {"note: false\n" LISTEN SITES, "f:1:7: `note` wants a mapping, or off, not `false`; did you mean `off`?\n"},
    {"diary: /x\n" LISTEN SITES, "f:1:8: `diary` wants a mapping, or off, not `/x`; did you mean `{path: /x}`?\n"},
    {"note: []\n" LISTEN SITES, "f:1:7: `note` wants a mapping, or off, not a list\n"},
    {"note: {text: ''}\n" LISTEN SITES, "f:1:14: `text` is empty\n"},
    {"note: {inner: {deep: yes, wait: 1}}\n" LISTEN SITES,
     "f:1:22: `deep` wants true or false, not `yes`\n"
     "f:1:33: `wait` wants a duration as 500ms, 5s, 10m, 1h, 7d or 0, not `1`\n"},
    {"note: {map: {a: [b], c: $nothing}}\n" LISTEN SITES,
     "f:1:17: `map`: `a` wants a string\nf:1:25: `map`: unknown variable `$nothing`\n"},
    {"note: {string: \"to $nobody\"}\n" LISTEN SITES, "f:1:20: `string`: unknown variable `$nobody`\n"},
    {"note: {string: '$binary_remote_addr'}\n" LISTEN SITES,
     "f:1:17: `string`: unknown variable `$binary_remote_addr`; did you mean `$client_ip`?\n"},
    {"note: {string: $1}\n" LISTEN SITES, "f:1:16: `string`: `$1` is a capture, but there is no regex here\n"},
    {"note: {number: 13}\n" LISTEN SITES, "f:1:1: `note`: 13 is no good\n"},

    /* listeners */
    {"listen: []\n" SITES, "f:1:9: `listen` is an empty list\n"},
    {"listen:\n" SITES, "f:1:8: `listen` wants a list of mappings, not nothing\n"},
    {"listen: [{name: a}]\n" SITES, "f:1:10: `address` is missing\n"},
    {"listen: [[0.0.0.0:80]]\n" SITES, "f:1:10: `listen` wants a list of mappings, not a list\n"},
    {"listen: ['0.0.0.0:80', '[::]:80', {address: 0.0.0.0:80}, '[0::0]:80']\n" SITES,
     "f:1:45: address `0.0.0.0:80` stands twice, first on line 1\n"
     "f:1:58: address `[::]:80` stands twice, first on line 1\n"},
    {"listen: [{address: 1.2.3.4:80, name: a}, {address: 1.2.3.4:81, name: a}]\n" SITES,
     "f:1:70: listener `a` stands twice, first on line 1\n"},
    {"listen: localhost:80\n" SITES,
     "f:1:9: `localhost:80` has a name; only addresses can stand here: ADDRESS:PORT, [IPV6]:PORT or unix:/path\n"},
    {"listen: 1.2.3.4:0\n" SITES,
     "f:1:9: `1.2.3.4:0`: the port is not a number from 1 to 65535; it is ADDRESS:PORT, [IPV6]:PORT or unix:/path\n"},
    {"listen: {address: 1.2.3.4:80, proxy_protocol: 1}\n" SITES,
     "f:1:47: `proxy_protocol` wants true or false, not `1`\n"},
    {"listen: {address: 1.2.3.4:80, tls: {}}\n" SITES, "f:1:36: `certificates` is missing\n"},
    {"listen: {address: 1.2.3.4:80, tls: {certificates: {cert: /c, kye: /k}}}\n" SITES,
     "f:1:51: `key` is missing\nf:1:62: unknown key `kye`; did you mean `key`?\n"},
    {"listen: {address: 1.2.3.4:80, h2c: true, tls: {certificates: {cert: /c, key: /k}, alpn: h3}}\n" SITES,
     "f:1:36: `h2c` is HTTP/2 in the clear: with `tls`, `alpn` says h2\n"
     "f:1:89: `alpn` wants a list of h2 and http/1.1, not `h3`\n"},

    /* upstreams */
    {"upstreams: [app]\n" LISTEN SITES, "f:1:12: `upstreams` wants a mapping of names to mappings, not a list\n"},
    {"upstreams: {app: 10.0.0.1:80}\n" LISTEN SITES, "f:1:18: `upstreams`: `app` wants a mapping\n"},
    {"upstreams: {app: {}}\n" LISTEN SITES, "f:1:18: `servers` is missing\n"},
    {"upstreams: {app: {servers: []}}\n" LISTEN SITES, "f:1:28: `servers` is an empty list\n"},
    {"upstreams: {app: {servers: ['app2.internal:x', 'a b:80', '-x.y:80']}}\n" LISTEN SITES,
     "f:1:29: `app2.internal:x`: not an IP address; it is ADDRESS:PORT, [IPV6]:PORT, NAME:PORT or unix:/path\n"
     "f:1:48: `a b:80`: not an IP address; it is ADDRESS:PORT, [IPV6]:PORT, NAME:PORT or unix:/path\n"
     "f:1:58: `-x.y:80`: not an IP address; it is ADDRESS:PORT, [IPV6]:PORT, NAME:PORT or unix:/path\n"},
    {"upstreams: {app: {servers: [{address: 10.0.0.1:80, weight: 0}]}}\n" LISTEN SITES,
     "f:1:60: `weight` wants a whole number from 1 to 1000, not `0`\n"},
    {"upstreams: {app: {servers: [10.0.0.1:80, 'unix:/a', 'unix:/a', 10.0.0.1:80]}}\n" LISTEN SITES,
     "f:1:53: server `unix:/a` stands twice, first on line 1\n"
     "f:1:64: server `10.0.0.1:80` stands twice, first on line 1\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, balance: least_con, keepalive: [1], retry: {on: [500, reset]}}}\n"
     LISTEN SITES,
     "f:1:50: `balance` wants round_robin, least_conn, random_two, ip_hash or hash, not `least_con`\n"
     "f:1:72: `keepalive` wants a whole number from 0 to 65536, not a list\n"
     "f:1:90: `on` wants a list of connect, reset, timeout, 502, 503 and 504, not `500`\n"},
    {"upstreams: {app: {servers: {address: 10.0.0.1:80, backp: true, max_connections: -1}}}\n" LISTEN SITES,
     "f:1:51: unknown key `backp`; did you mean `backup`?\n"
     "f:1:81: `max_connections` wants a whole number from 0 to 1048576, not `-1`\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, balance: hash, hash_balance: 0.5}}\n" LISTEN SITES,
     "f:1:18: `balance: hash` needs `hash_key`\n"
     "f:1:70: `hash_balance` wants a number from 1 to 100 as 1.25, or off, not `0.5`\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, hash_key: $host, hash_balance: 1.5}}\n" LISTEN SITES,
     "f:1:51: `hash_key` is for `balance: hash` alone\n"
     "f:1:72: `hash_balance` is for `balance: ip_hash` and `hash` alone\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, health: {interval: 10ms}}}\n" LISTEN SITES,
     "f:1:49: `health` needs one of `http` and `tcp: true`\n"
     "f:1:60: `interval` wants a duration of at least 50ms, not `10ms`\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, health: {tcp: true, http: x, expect: [99, 200-100, 200]}}}\n"
     LISTEN SITES,
     "f:1:49: `health` has but one of `http` and `tcp: true`\n"
     "f:1:67: `http` wants a path that begins with /, not `x`\n"
     "f:1:79: `expect` wants a status or a range as 200-399, or a list of them, not `99`\n"
     "f:1:83: `expect` wants a status or a range as 200-399, or a list of them, not `200-100`\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, health: {tcp: true, host: a, rise: 0}, eject: {max_ejected: 101%},\n"
     "  retry: {budget: 20, attempts: 11}, queue: {size: many}}}\n" LISTEN SITES,
     "f:1:67: `host` is for `http` alone\n"
     "f:1:76: `rise` wants a whole number from 1 to 1000, not `0`\n"
     "f:1:101: `max_ejected` wants a percentage from 0% to 100%, not `101%`\n"
     "f:2:19: `budget` wants a percentage from 0% to 100%, not `20`\n"
     "f:2:33: `attempts` wants a whole number from 0 to 10, not `11`\n"
     "f:2:52: `size` wants a whole number from 0 to 1048576, not `many`\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, health: /up, timeouts: {}, weight: 2}}\n" LISTEN SITES,
     "f:1:49: `health` wants a mapping, or off, not `/up`; did you mean `{http: /up}`?\n"
     "f:1:54: unknown key `timeouts`; it belongs elsewhere: `timeouts` (at the top level, in a site or a route)\n"
     "f:1:68: unknown key `weight`; it belongs elsewhere: `upstreams.NAME.servers[].weight`\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, health: {http: up}}, b: {servers: 10.0.0.1:80, health: {tcp: yes}},\n"
     "  c: {servers: 10.0.0.1:80, balance: hash, hash_key: $cookie-sid}}\n" LISTEN SITES,
     "f:1:56: `http` wants a path that begins with /, not `up`\n"
     "f:1:102: `tcp` wants true or false, not `yes`\n"
     "f:2:54: `hash_key`: unknown variable `$cookie`; did you mean `$cookie_NAME`?\n"},
    {"upstreams: {app: {servers: 10.0.0.1:80, balance: hsh, hash_key: $host}}\n" LISTEN SITES,
     "f:1:50: `balance` wants round_robin, least_conn, random_two, ip_hash or hash, not `hsh`\n"},
    {"resolver: [127.0.0.1, '[::1]:53', name:53, unix:/x]\n" LISTEN SITES,
     "f:1:35: `resolver` wants a list of ADDRESS, ADDRESS:PORT or [IPV6]:PORT, not `name:53`\n"
     "f:1:44: `resolver` wants a list of ADDRESS, ADDRESS:PORT or [IPV6]:PORT, not `unix:/x`\n"},

    /* sites */
    {LISTEN "sites: x\n", "f:2:8: `sites` wants a list of sites, not `x`\n"},
    {LISTEN "sites: []\n", "f:2:8: `sites` is an empty list\n"},
    {LISTEN "sites: [{}]\n", "f:2:9: `hosts` is missing\nf:2:9: `routes` is missing\n"},
    {LISTEN "sites: [a]\n", "f:2:9: a site is a mapping\n"},
    {LISTEN "sites: [{hosts: [], routes: []}]\n",
     "f:2:17: `hosts` is an empty list\nf:2:29: `routes` is an empty list\n"},
    {LISTEN "sites: [{hosts: ['*.*.a', 'a b', 'a:80', '*a', '*.[::1]', ''], routes: [{say: {}}]}]\n",
     "f:2:18: host `*.*.a`: * stands alone, or as *. before a name\n"
     "f:2:27: host `a b`: no host\n"
     "f:2:34: host `a:80`: the port is the listener's\n"
     "f:2:42: host `*a`: * stands alone, or as *. before a name\n"
     "f:2:48: host `*.[::1]`: no host\n"
     "f:2:59: `hosts` wants a list of hosts; this one is empty\n"},
    {LISTEN "sites:\n- {hosts: [a, b, A], routes: [{say: {}}]}\n- {hosts: B., routes: [{say: {}}]}\n",
     "f:3:18: host `a` stands twice on a listener, first on line 3\n"
     "f:4:11: host `b` stands twice on a listener, first on line 3\n"},
    {"listen: {address: 1.2.3.4:80, name: public}\nsites: [{hosts: a, listen: publc, routes: [{say: {}}]}]\n",
     "f:2:28: no listener has the name `publc`; did you mean `public`?\n"},
    {LISTEN "sites: [{hosts: a, listen: [], routes: [{say: {}}]}]\n", "f:2:28: `listen` is an empty list\n"},

    /* routes */
    {LISTEN "sites: [{hosts: a, routes: [b]}]\n", "f:2:29: a route is a mapping\n"},
    {LISTEN "sites: [{hosts: a, routes: [{}, {match: {path: /}}]}]\n",
     "f:2:29: a route needs one of `proxy`, `say` or `send`\nf:2:33: a route needs one of `proxy`, `say` or `send`\n"},
    {LISTEN "sites: [{hosts: a, routes: [{say: off}]}]\n", "f:2:29: a route needs one of `proxy`, `say` or `send`\n"},
    {LISTEN "sites: [{hosts: a, routes: [{say: {}, send: {}}]}]\n",
     "f:2:29: a route has but one of `proxy`, `say` or `send`, not `say` and `send`\n"},
    {LISTEN APP "sites: [{hosts: a, routes: [{proxy: app, send: {}}]}]\n",
     "f:3:29: a route has but one of `proxy`, `say` or `send`, not `proxy` and `send`\n"},
    {LISTEN APP "sites: [{hosts: a, routes: [{proxy: ap}, {proxi: app}, {proxy: [app]}]}]\n",
     "f:3:37: no upstream has the name `ap`; did you mean `app`?\n"
     "f:3:43: unknown key `proxi`; did you mean `proxy`?\n"
     "f:3:64: `proxy` wants the name of an upstream, not a list\n"},
    {LISTEN APP "sites: [{hosts: a, routes: [{proxy: 'http://10.0.0.1:80'}]}]\n",
     "f:3:37: no upstream has the name `http://10.0.0.1:80`; servers stand in `upstreams`, and `proxy` names one of "
     "those\n"},
    {LISTEN "sites: [{hosts: a, routes: [{say: {status: 99}}]}]\n",
     "f:2:44: `status` wants a whole number from 200 to 599, not `99`\n"},
    {LISTEN "sites:\n- hosts: a\n  routes:\n  - match: {path: a}\n    say: {}\n"
            "  - match: {path: /a/../b}\n    say: {}\n"
            "  - match: {prefix: /%7e//x}\n    say: {}\n  - match: {path: '/a?b'}\n    say: {}\n",
     "f:5:19: `path` has to begin with /, not `a`\n"
     "f:7:19: `path` wants a canonical path: `/b`, not `/a/../b`\n"
     "f:9:21: `prefix` wants a canonical path: `/~/x`, not `/%7e//x`\n"
     "f:11:19: `path`: no request has the path `/a?b`: it would be refused\n"},
    {LISTEN "sites: [{hosts: a, routes: [{match: {regex: 'a(b'}, say: {}}, {match: {regex: '[z'}, say: {}}]}]\n",
     "f:2:49: `regex`: missing closing parenthesis\n"
     "f:2:82: `regex`: missing terminating ] for character class\n"},
    {LISTEN "sites: [{hosts: a, routes: [{match: {regex: '^/(?<id>x)'}, say: {body: '$id $1 ${2}'}}]}]\n",
     "f:2:80: `body`: `$2`: the regex has no such group\n"},
    {LISTEN "sites: [{hosts: a, routes: [{match: {methods: [GET, 'a b', '']}, say: {}}]}]\n",
     "f:2:53: `methods`: `a b` is no method\nf:2:60: `methods` wants a list of methods; this one is empty\n"},
    {LISTEN "sites: [{hosts: a, routes: [{match: {scheme: ftp, headers: {}}, say: {}}]}]\n",
     "f:2:46: `scheme` wants http or https, not `ftp`\nf:2:60: `headers` is an empty mapping\n"},
    {LISTEN "sites: [{hosts: a, routes: [{match: {headers: {X: ~, 'a b': 1, Y: [], y: '~(', Z: \"a\\n\"}}, "
            "say: {}}]}]\n",
     "f:2:51: `headers`: `X` wants a value or \"~regex\", not nothing; \"~\" in quotes takes any value\n"
     "f:2:54: `headers`: `a b` is no header name\n"
     "f:2:67: `headers`: `Y` wants a value or \"~regex\", not a list\n"
     "f:2:71: `headers`: `y` stands twice, first on line 2\n"
     "f:2:77: `headers`: missing closing parenthesis\n"
     "f:2:83: `headers`: no `Z` is `a?`: no header has control bytes\n"},
    {LISTEN "sites: [{hosts: a, routes: [{match: {cookies: {a=b: 1, c: 'x;y', '': 1}, query: {'': x, b: ' '}}, "
            "say: {}},\n"
            "  {match: {query: v}, say: {}}]}]\n",
     "f:2:48: `cookies`: `a=b` is no cookie name\n"
     "f:2:59: `cookies`: no `c` is `x;y`: a cookie ends at ;\n"
     "f:2:66: `cookies`: `` is empty\n"
     "f:2:82: `query`: `` is empty\n"
     "f:3:19: `query` wants a mapping of names to values or ~regex, not `v`\n"},
    {LISTEN "sites: [{hosts: a, routes: [{match: /x, say: {}}]}]\n",
     "f:2:37: `match` wants a mapping, not `/x`; did you mean `{prefix: /x}`?\n"},
    {LISTEN "sites: [{hosts: a, routes: [{match: {path: [/x]}, say: {}}]}]\n",
     "f:2:44: `path` wants a canonical path, not a list\n"},

    /* errors of an alias are told once, and all come in the order of the file */
    {LISTEN "sites:\n- {hosts: a, routes: &r [{say: {status: x}}]}\n- {hosts: b, routes: *r}\nworkers: x\n",
     "f:3:41: `status` wants a whole number from 200 to 599, not `x`\n"
     "f:5:10: `workers` wants auto or a whole number from 1 to 256, not `x`\n"},
};

START_TEST(errors_have_their_place)
{
    conf = load_text("f", str_of(bad[_i].text), &f);
    ck_assert_ptr_null(conf);
    ck_assert_uint_eq(f.errors, f.n);
    ck_assert_msg(str_eq(found(), str_of(bad[_i].want)), "%s  gave\n%.*s  not\n%s", bad[_i].text, STR_ARG(found()),
                  bad[_i].want);
}
END_TEST

START_TEST(warnings_come_with_a_configuration)
{
    conf = load_text("f", STR(LISTEN "sites:\n- hosts: a\n  routes:\n  - {match: {methods: [get]}, say: {}}\n"
                              "  - {match: {prefix: /x/}, say: {}}\n  - {match: {path: /x/y}, say: {}}\n"
                              "  - {name: rest, say: {}}\n  - {match: {path: /z}, say: {}}\n"), &f);
    ck_assert_ptr_nonnull(conf);
    ck_assert_uint_eq(f.errors, 0);
    ck_assert_uint_eq(f.n, 3);
    ck_assert(f.v[0].warning);
    same(found(), "f:5:24: warning: method `get`: methods are in upper case, and case counts\n"
                  "f:7:5: warning: this route never matches: `/x/` on line 6 takes its requests\n"
                  "f:9:5: warning: this route never matches: `rest` on line 8 takes its requests\n");
}
END_TEST

/* What is good to the letter, and hardly what was meant. */
START_TEST(what_does_nothing_is_a_warning)
{
    conf = load_text("f", STR("upstreams:\n  a: {servers: 10.0.0.1:80, balance: hash, hash_key: cookie_sid}\n"
                              "  b: {servers: 10.0.0.1:80, balance: hash, hash_key: x}\n"
                              "  c: {servers: 10.0.0.1:80, balance: hash, hash_key: '$host$sent_http_x'}\n" LISTEN
                              "sites:\n- hosts: a\n  routes:\n"
                              "  - {match: {prefix: '/x*'}, say: {body: $status}}\n"), &f);
    ck_assert_ptr_nonnull(conf);
    same(found(),
         "f:2:54: warning: `hash_key`: `cookie_sid` is the same for all requests; did you mean `$cookie_sid`?\n"
         "f:3:54: warning: `hash_key`: `x` is the same for all requests\n"
         "f:4:54: warning: `hash_key`: `$sent_http_x` is empty here: it is known only with the response\n"
         "f:9:22: warning: `prefix`: a `*` stands for itself there, not for any text\n");
}
END_TEST

/* However much is wrong: the report ends. */
START_TEST(findings_are_bounded)
{
    struct str s = STR(""), last;

    for (int i = 0; i < 2000; i++)
        s = arena_printf(f.arena, "%.*sk%d: 1\n", STR_ARG(s), i);
    conf = load_text("f", s, &f);
    ck_assert_ptr_null(conf);
    ck_assert_uint_eq(f.n, 1001);
    last = f.v[1000].text;
    same(last, "f: there is more than these 1000");
}
END_TEST

START_TEST(defaults_are_those_of_the_contract)
{
    const struct policy *p;

    load(LISTEN APP SITES);
    p = &conf->scope.policy;
    same(conf->file, "f");
    same(conf->user, "www-data");
    ck_assert_uint_eq(conf->group.n, 0);
    ck_assert_int_eq(conf->workers, 0);
    same(conf->pid_file, "/run/weir.pid");
    same(conf->stats_file, "/run/weir/weir.prom");
    ck_assert_int_eq(conf->stats_interval, 1000);
    same(conf->logs[conf->error_log].path, "/var/log/weir/error.log");
    ck_assert_int_eq(conf->log_level, LOG_LEVEL_NOTICE);
    ck_assert_int_eq(conf->drain_timeout, 60000);
    ck_assert_int_eq(conf->drain_tunnels, 300000);
    ck_assert_uint_eq(conf->trusted_proxies.n, 0);
    ck_assert_int_eq(p->limits.connections, 16384);
    ck_assert_uint_eq(p->limits.request_line, 8192);
    ck_assert_uint_eq(p->limits.request_header, 8192);
    ck_assert_uint_eq(p->limits.request_headers, 32768);
    ck_assert_int_eq(p->limits.request_header_count, 100);
    ck_assert_uint_eq(p->limits.request_body, 16 << 20);
    ck_assert_uint_eq(p->limits.response_head, 65536);
    ck_assert_int_eq(p->timeouts.client_header, 10000);
    ck_assert_int_eq(p->timeouts.client_body, 30000);
    ck_assert_int_eq(p->timeouts.client_write, 30000);
    ck_assert_int_eq(p->timeouts.client_idle, 60000);
    ck_assert_int_eq(p->timeouts.connect, 3000);
    ck_assert_int_eq(p->timeouts.upstream, 60000);
    ck_assert_int_eq(p->timeouts.tunnel, 3600000);
    ck_assert_uint_eq(p->min_rate, 500);
    ck_assert_int_eq(p->encoded_slash, ENCODED_SLASH_KEEP);
    ck_assert_uint_eq(p->buffer, 65536);
    ck_assert(!conf->listeners[0].proxy_protocol);
    ck_assert_int_eq(conf->upstreams[0].balance, BALANCE_ROUND_ROBIN);
    ck_assert_int_eq(conf->upstreams[0].keepalive, 64);
    ck_assert_int_eq(conf->upstreams[0].keepalive_timeout, 4000);
    ck_assert_int_eq(conf->upstreams[0].servers[0].weight, 1);
}
END_TEST

START_TEST(what_is_written_is_what_is_loaded)
{
    load("user: web:www\nworkers: 3\npid_file: off\nstats_file: /tmp/x\nstats_interval: 250ms\n"
         "error_log: syslog\nlog_level: debug\ndrain_timeout: 0\ndrain_tunnels: 1d\n"
         "trusted_proxies: [10.0.0.0/8, '::1', 'unix:']\ndiary: {path: syslog}\n"
         "listen: [{address: '[::1]:80', name: six, proxy_protocol: true}, {address: 'unix:/run/w', name: w}]\n"
         "upstreams:\n  one: {servers: ['unix:/a', {address: 10.0.0.1:81, weight: 3}], keepalive: 0}\n"
         "  two: {servers: '[::2]:82', keepalive_timeout: 90s}\n"
         "sites: {hosts: [WWW.Example.com, '*.Example.com'], listen: [six, w], routes: {proxy: two}}\n");
    same(conf->user, "web");
    same(conf->group, "www");
    ck_assert_int_eq(conf->workers, 3);
    ck_assert_uint_eq(conf->pid_file.n, 0);
    same(conf->stats_file, "/tmp/x");
    ck_assert_int_eq(conf->stats_interval, 250);
    ck_assert_uint_eq(conf->log_count, 1);
    ck_assert_int_eq(conf->logs[0].kind, LOG_TO_SYSLOG);
    ck_assert_int_eq(conf->log_level, LOG_LEVEL_DEBUG);
    ck_assert_int_eq(conf->drain_timeout, 0);
    ck_assert_int_eq(conf->drain_tunnels, 86400000);
    ck_assert_uint_eq(conf->trusted_proxies.n, 2);
    ck_assert(conf->trusted_proxies.unix_peers);
    ck_assert_uint_eq(conf->listener_count, 2);
    same(conf->listeners[0].name, "six");
    ck_assert(conf->listeners[0].proxy_protocol);
    ck_assert_uint_eq(conf->listeners[1].index, 1);
    same(conf->listeners[1].address.path, "/run/w");
    same(conf->listeners[1].text, "unix:/run/w");
    ck_assert_uint_eq(conf->upstream_count, 2);
    ck_assert_uint_eq(conf->server_count, 3);
    ck_assert_uint_eq(conf->upstreams[1].first_server, 2);
    ck_assert_int_eq(conf->upstreams[1].keepalive_timeout, 90000);
    ck_assert_int_eq(conf->upstreams[0].servers[1].weight, 3);
    ck_assert_ptr_eq(conf->upstreams[0].servers[1].upstream, &conf->upstreams[0]);
    ck_assert_uint_eq(conf->upstreams[0].servers[1].index, 1);
    ck_assert_uint_eq(conf->sites[0].hosts.n, 2);
    same(conf->sites[0].name, "www.example.com");
    same(conf->sites[0].hosts.v[1], "*.example.com");
    same(conf->sites[0].listen.v[0], "six");
    ck_assert_ptr_eq(conf->sites[0].routes[0].proxy, &conf->upstreams[1]);
    ck_assert_ptr_eq(conf->sites[0].routes[0].site, &conf->sites[0]);
    ck_assert_ptr_nonnull(conf->listeners[0].sites);
}
END_TEST

START_TEST(same_hosts_on_other_listeners_are_good)
{
    load("listen: [{address: 1.2.3.4:80, name: a}, {address: 1.2.3.4:81, name: b}]\n"
         "sites:\n- {hosts: '*', listen: a, routes: [{say: {}}]}\n- {hosts: '*', listen: [b], routes: [{say: {}}]}\n");
}
END_TEST

START_TEST(routes_are_named_as_written)
{
    static const char *const want[] = {"/healthz", "/old/", "=/old/", "/", "~^/user/", "GET,HEAD /api/",
                                       "http:",    "POST https: /x/ ~y$", "mine", "*"};
    const struct route *routes;

    load(LISTEN "sites:\n- hosts: a\n  routes:\n"
                "  - {match: {path: /healthz}, say: {}}\n"
                "  - {match: {prefix: /old, methods: PUT}, name: /old/, say: {}}\n"
                "  - {match: {path: /old/}, say: {}}\n"
                "  - {match: {prefix: /, methods: X}, name: /, say: {}}\n"
                "  - {match: {regex: ^/user/}, say: {}}\n"
                "  - {match: {prefix: /api/, methods: [GET, HEAD]}, say: {}}\n"
                "  - {match: {scheme: http}, say: {}}\n"
                "  - {match: {prefix: /x, regex: y$, scheme: https, methods: POST}, say: {}}\n"
                "  - {match: {path: /n}, name: mine, say: {}}\n"
                "  - {say: {}}\n");
    routes = conf->sites[0].routes;
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
        same(routes[i].name, want[i]);
    ck_assert_int_eq(routes[5].line, 10);
    same(routes[5].match.prefix, "/api");
    same(routes[3].match.prefix, "/");
    ck_assert_int_eq(routes[6].match.scheme, SCHEME_HTTP);
    ck_assert_int_eq(routes[5].match.scheme, SCHEME_ANY);
    ck_assert_ptr_null(routes[5].match.path.p);
}
END_TEST

START_TEST(policies_are_laid_over)
{
    const struct policy *top, *site, *route, *other;

    load(LISTEN "limits: {request_body: 1m}\ntimeouts: {connect: 1s, client_idle: 9s}\nmin_rate: 100\n"
                "sites:\n- hosts: a\n  timeouts: {upstream: 2s}\n  buffer: 128k\n  encoded_slash: reject\n  routes:\n"
                "  - {match: {path: /a}, timeouts: {connect: 5s, upstream: 0}, limits: {response_head: 1k}, "
                "min_rate: 0, say: {}}\n"
                "  - {match: {path: /b}, timeouts: off, min_rate: off, say: {}}\n"
                "- {hosts: b, routes: [{encoded_slash: reject, say: {}}]}\n");
    top = &conf->scope.policy;
    site = &conf->sites[0].scope.policy;
    route = &conf->sites[0].routes[0].scope.policy;
    other = &conf->sites[0].routes[1].scope.policy;
    ck_assert_int_eq(top->timeouts.upstream, 60000);
    ck_assert_int_eq(site->timeouts.upstream, 2000);
    ck_assert_int_eq(site->timeouts.connect, 1000);
    ck_assert_uint_eq(site->buffer, 128 << 10);
    ck_assert_int_eq(route->timeouts.upstream, 0);
    ck_assert_int_eq(route->timeouts.connect, 5000);
    ck_assert_int_eq(route->timeouts.client_idle, 9000);
    ck_assert_uint_eq(route->limits.response_head, 1024);
    ck_assert_uint_eq(route->limits.request_body, 1 << 20);
    ck_assert_uint_eq(route->buffer, 128 << 10);
    ck_assert_uint_eq(route->min_rate, 0);
    ck_assert_int_eq(route->encoded_slash, ENCODED_SLASH_REJECT);
    ck_assert_int_eq(other->timeouts.connect, 0);
    ck_assert_int_eq(other->timeouts.tunnel, 0);
    ck_assert_int_eq(other->timeouts.client_idle, 9000);
    ck_assert_uint_eq(other->min_rate, 0);
    ck_assert_uint_eq(conf->sites[1].scope.policy.min_rate, 100);
    ck_assert_int_eq(conf->sites[1].scope.policy.encoded_slash, ENCODED_SLASH_KEEP);
    ck_assert_int_eq(conf->sites[1].routes[0].scope.policy.encoded_slash, ENCODED_SLASH_REJECT);
}
END_TEST

/* The module's struct in a scope. */
static const void *
of(const struct scope *s, int module)
{
    return s->conf[module];
}

static const struct scope *
route_scope(size_t i)
{
    return &conf->sites[0].routes[i].scope;
}

START_TEST(modules_are_laid_over)
{
    const struct note *site, *route;

    load(LISTEN "sites:\n- hosts: a\n  note: {text: site, inner: {wait: 2s}, map: {a: x, b: y}}\n  routes:\n"
                "  - {match: {path: /a}, note: {number: 7, inner: {deep: true}, map: {b: z, c: w}}, say: {}}\n"
                "  - {match: {path: /b}, say: {}}\n"
                "  - {match: {path: /c}, note: off, say: {}}\n"
                "- {hosts: b, routes: [{note: {}, say: {}}]}\n");
    ck_assert_ptr_null(of(&conf->scope, NOTE));
    site = of(&conf->sites[0].scope, NOTE);
    route = of(route_scope(0), NOTE);
    same(site->text, "site");
    ck_assert_int_eq(site->number, 5);
    ck_assert_int_eq(site->inner.wait, 2000);
    same(route->text, "site");
    ck_assert_int_eq(route->number, 7);
    ck_assert(route->inner.deep && !site->inner.deep);
    ck_assert_int_eq(route->inner.wait, 2000);
    ck_assert_uint_eq(site->map.n, 2);
    ck_assert_uint_eq(route->map.n, 3);
    same(template_source(site->map.v[1].value), "y");
    same(template_source(route->map.v[1].value), "z");
    same(template_source(route->map.v[0].value), "x");
    ck_assert_ptr_eq(of(route_scope(1), NOTE), site);
    ck_assert_ptr_null(of(route_scope(2), NOTE));
    /* nothing was outside of it: defaults */
    same(((const struct note *)of(&conf->sites[1].routes[0].scope, NOTE))->text, "none");
    ck_assert_ptr_null(of(&conf->sites[1].scope, NOTE));
}
END_TEST

static void
is_time(const struct status_times *times, size_t i, int status, int64_t ms)
{
    ck_assert_uint_gt(times->n, i);
    ck_assert_int_eq(times->v[i].status, status);
    ck_assert_int_eq(times->v[i].ms, ms);
}

START_TEST(times_of_statuses_are_laid_over)
{
    const struct status_times *site, *route;

    load(LISTEN "sites:\n- hosts: a\n  note: {times: {200: 60m, 301: 1h}}\n  routes:\n"
                "  - {match: {path: /a}, note: {times: {'404': 1m, 200: 0}}, say: {}}\n"
                "  - {match: {path: /b}, note: {times: {}}, say: {}}\n");
    site = &((const struct note *)of(&conf->sites[0].scope, NOTE))->times;
    route = &((const struct note *)of(route_scope(0), NOTE))->times;
    ck_assert_uint_eq(site->n, 2);
    is_time(site, 0, 200, 3600000);
    is_time(site, 1, 301, 3600000);
    ck_assert_uint_eq(route->n, 3);
    is_time(route, 0, 200, 0);
    is_time(route, 1, 301, 3600000);
    is_time(route, 2, 404, 60000);
    route = &((const struct note *)of(route_scope(1), NOTE))->times;
    ck_assert_uint_eq(route->n, 2);
}
END_TEST

START_TEST(the_cache_has_its_share)
{
    load(LISTEN SITES);
    ck_assert_uint_eq(conf->cache_memory.size, 0);
    load("cache_memory: off\n" LISTEN SITES);
    ck_assert_uint_eq(conf->cache_memory.size, 0);
    load("cache_memory: {}\n" LISTEN SITES);
    ck_assert_uint_eq(conf->cache_memory.size, 256 << 20);
    ck_assert_uint_eq(conf->cache_memory.max_object, 16 << 20);
    ck_assert_uint_eq(conf->cache_memory.file.n, 0);
    load("cache_memory: {size: 32m, file: /var/x}\n" LISTEN SITES);
    ck_assert_uint_eq(conf->cache_memory.max_object, 2 << 20);
    same(conf->cache_memory.file, "/var/x");
    load("cache_memory: {size: 1g, max_object: 64m, file: off}\n" LISTEN SITES);
    ck_assert_uint_eq(conf->cache_memory.max_object, 64 << 20);
}
END_TEST

START_TEST(ready_runs_once_where_it_is_written)
{
    const struct note *top, *route;

    load("note: {text: top}\n" LISTEN "sites:\n- hosts: a\n  routes:\n"
         "  - {match: {path: /a}, note: {number: 1}, say: {}}\n"
         "  - {match: {path: /b}, say: {}}\n  - {match: {path: /c}, note: off, say: {}}\n");
    top = of(&conf->scope, NOTE);
    route = of(route_scope(0), NOTE);
    ck_assert_int_eq(readied, 2);
    ck_assert_int_eq(top->made_ready, 1);
    ck_assert_int_eq(route->made_ready, 1);
    ck_assert_ptr_eq(of(route_scope(1), NOTE), top);
}
END_TEST

START_TEST(lists_are_replaced)
{
    const struct str_list *words;

    load("words: [a, b]\n" LISTEN "sites:\n- hosts: a\n  routes:\n  - {match: {path: /a}, words: c, say: {}}\n"
         "  - {match: {path: /b}, words: [], say: {}}\n  - {match: {path: /c}, words: off, say: {}}\n");
    words = of(&conf->scope, WORDS);
    ck_assert_uint_eq(words->n, 2);
    words = of(route_scope(0), WORDS);
    ck_assert_uint_eq(words->n, 1);
    same(words->v[0], "c");
    words = of(route_scope(1), WORDS);
    ck_assert_uint_eq(words->n, 0);
    ck_assert_ptr_null(of(route_scope(2), WORDS));
}
END_TEST

START_TEST(some_modules_are_in_use_unless_off)
{
    const struct diary *diary;

    load(LISTEN "sites:\n- hosts: a\n  diary: off\n  routes:\n  - {match: {path: /a}, diary: {}, say: {}}\n"
                "  - {match: {path: /b}, diary: {path: /x}, say: {}}\n  - {say: {}}\n");
    diary = of(&conf->scope, DIARY);
    same(conf->logs[diary->log].path, "/var/diary");
    ck_assert_ptr_null(of(&conf->sites[0].scope, DIARY));
    diary = of(route_scope(0), DIARY);
    same(conf->logs[diary->log].path, "/var/diary");
    diary = of(route_scope(1), DIARY);
    same(conf->logs[diary->log].path, "/x");
    ck_assert_ptr_null(of(route_scope(2), DIARY));
    ck_assert_uint_eq(conf->log_count, 3);
    load("diary: off\n" LISTEN SITES);
    ck_assert_ptr_null(of(&conf->scope, DIARY));
}
END_TEST

START_TEST(hooks_stand_in_the_order_of_the_registry)
{
    const struct scope *s;

    load("diary: off\nnote: {}\n" LISTEN "sites:\n- hosts: a\n  routes:\n  - {match: {path: /a}, words: a, say: {}}\n"
         "  - {match: {path: /b}, note: off, say: {}}\n");
    s = route_scope(0);
    ck_assert_uint_eq(s->hooks[PHASE_GUARD].n, 1);
    ck_assert_uint_eq(s->hooks[PHASE_LOOKUP].n, 1);
    ck_assert_uint_eq(s->hooks[PHASE_EDIT].n, 2);
    ck_assert_ptr_eq(s->hooks[PHASE_EDIT].v[0].conf, of(s, NOTE));
    ck_assert_ptr_eq(s->hooks[PHASE_EDIT].v[1].conf, of(s, WORDS));
    ck_assert_uint_eq(s->hooks[PHASE_LOG].n, 0);
    s = route_scope(1);
    ck_assert_uint_eq(s->hooks[PHASE_GUARD].n, 0);
    ck_assert_uint_eq(s->hooks[PHASE_EDIT].n, 0);
    ck_assert_uint_eq(s->hooks[PHASE_LOOKUP].n, 1);
    ck_assert_uint_eq(conf->scope.hooks[PHASE_GUARD].n, 1);
}
END_TEST

static void
own_line(bool *taken, size_t offset)
{
    ck_assert_uint_lt(POLICY_LINE_AT(offset), POLICY_LINES);
    ck_assert(!taken[POLICY_LINE_AT(offset)]);
    taken[POLICY_LINE_AT(offset)] = true;
}

START_TEST(each_policy_has_a_line_of_its_own)
{
    bool taken[POLICY_LINES] = {false};

    for (const struct key *k = keys_policy; k->name != NULL; k++) {
        if (k->type != KEY_SECTION)
            own_line(taken, k->offset);
        for (const struct key *inner = k->keys; inner != NULL && inner->name != NULL; inner++)
            own_line(taken, k->offset + inner->offset);
    }
}
END_TEST

START_TEST(files_that_cannot_be_read_are_an_error)
{
    ck_assert_ptr_null(load_file("/nonexistent/weir.yaml", &f));
    same(found(), "/nonexistent/weir.yaml: No such file or directory\n");
    ck_assert_ptr_null(load_file("/", &f));
    same(found(), "/: Is a directory\n");
    ck_assert_uint_eq(f.errors, 1);
}
END_TEST

/* What is printed as a default is what is loaded: an empty file's worth of it, written out, changes nothing. */
static void
has(const char *text, const char *what)
{
    ck_assert_msg(strstr(text, what) != NULL, "no %s", what);
}

START_TEST(the_reference_names_every_key)
{
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);

    load_print_keys(to);
    fclose(to);
    has(text, "\nlimits.request_body\n    a size; default 16m; policy\n    longer: 413; 0: no limit\n");
    has(text, "\nlimits.request_line\n    a size from 64 to 1m; default 8k; at the top level only\n");
    has(text, "\nsites[].routes[].say.status\n    a whole number from 200 to 599; default 200\n");
    has(text, "\nnote.inner.wait\n    a duration; default 1s; policy\n");
    has(text, "\nupstreams.NAME.servers[].weight\n    a whole number from 1 to 1000; default 1\n");
    has(text, "\nlisten\n    a list of mappings; required\n");
    free(text);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("load");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, errors_have_their_place, 0, sizeof(bad) / sizeof(bad[0]));
    tcase_add_test(tc, warnings_come_with_a_configuration);
    tcase_add_test(tc, what_does_nothing_is_a_warning);
    tcase_add_test(tc, findings_are_bounded);
    tcase_add_test(tc, defaults_are_those_of_the_contract);
    tcase_add_test(tc, what_is_written_is_what_is_loaded);
    tcase_add_test(tc, same_hosts_on_other_listeners_are_good);
    tcase_add_test(tc, routes_are_named_as_written);
    tcase_add_test(tc, policies_are_laid_over);
    tcase_add_test(tc, modules_are_laid_over);
    tcase_add_test(tc, times_of_statuses_are_laid_over);
    tcase_add_test(tc, the_cache_has_its_share);
    tcase_add_test(tc, ready_runs_once_where_it_is_written);
    tcase_add_test(tc, lists_are_replaced);
    tcase_add_test(tc, some_modules_are_in_use_unless_off);
    tcase_add_test(tc, hooks_stand_in_the_order_of_the_registry);
    tcase_add_test(tc, each_policy_has_a_line_of_its_own);
    tcase_add_test(tc, files_that_cannot_be_read_are_an_error);
    tcase_add_test(tc, the_reference_names_every_key);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
