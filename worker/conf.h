/*
 * The configuration as the worker reads it: plain structs, filled in the master by the loader from
 * the key tables, constant afterwards. One generation, one arena; workers inherit it over fork.
 * Units: bytes, milliseconds. The names are those of weir.yaml.
 */
#ifndef WEIR_CONF_H
#define WEIR_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/base/addr.h"
#include "worker/base/arena.h"
#include "worker/base/str.h"
#include "worker/key.h"
#include "worker/module.h"
#include "worker/regex.h"
#include "worker/template.h"

struct tls_client;
struct tls_server;

struct limits {
    int64_t connections;
    int64_t connections_per_ip; /* over all workers; 0: any */
    size_t request_line;
    size_t request_header;
    size_t request_headers;
    int64_t request_header_count;
    size_t request_body;        /* policy; 0: no limit */
    size_t response_head;       /* policy */
};

struct timeouts {               /* 0: none */
    int64_t client_header;
    int64_t client_body;        /* this and what follows, but for client_idle: policy */
    int64_t client_write;
    int64_t client_idle;
    int64_t connect;
    int64_t upstream;
    int64_t tunnel;
};

enum { ENCODED_SLASH_KEEP, ENCODED_SLASH_REJECT };

/* The engine's own policies. Inner levels start from a copy of the outer level's. */
struct policy {
    struct limits limits;
    struct timeouts timeouts;
    size_t min_rate;            /* bytes/s; 0: none */
    int encoded_slash;
    size_t buffer;
};

/*
 * Of a member of struct policy: where its line stands in scope.policy_lines, one for each eight bytes. No two
 * members may share eight (check_load looks).
 */
#define POLICY_LINES (sizeof(struct policy) / 8)
#define POLICY_LINE_AT(offset) ((offset) / 8)
#define POLICY_LINE(member) POLICY_LINE_AT(offsetof(struct policy, member))

/* What holds at one level (the file's top, a site, a route): the engine's policies and the modules'. */
struct scope {
    struct policy policy;
    int policy_lines[POLICY_LINES];     /* of each of them, in the file; 0: a default */
    void **conf;                /* by the module's index in the registry; NULL: not in use here */
    struct hooks hooks[PHASES];
};

enum log_kind { LOG_TO_FILE, LOG_TO_STDERR, LOG_TO_SYSLOG };

/* A place that lines go to: opened by the master, one descriptor each in struct worker_start. */
struct log_target {
    enum log_kind kind;
    struct str path;
};

enum { CLIENT_VERIFY_NONE, CLIENT_VERIFY_OPTIONAL, CLIENT_VERIFY_REQUIRE };
enum { TLS_1_2, TLS_1_3 };
enum { ALPN_H2 = 1, ALPN_HTTP_1_1 = 2 };

struct certificate {
    struct str cert, key;       /* paths */
    struct str ocsp;            /* a path to a response to staple; p NULL: asked for where the certificate says whom;
                                   empty: off */
    int line;
};

/* `tls` of a listener. */
struct listener_tls {
    bool on;                    /* it is there */
    struct certificate *certificates;
    size_t certificate_count;
    int min_version;            /* TLS_1_2, TLS_1_3 */
    struct str ciphers;
    struct str_list alpn;       /* as written; alpn_offers is what it says */
    unsigned alpn_offers;       /* ALPN_H2 | ALPN_HTTP_1_1 */
    struct str client_ca;
    int client_verify;          /* CLIENT_VERIFY_... */
    struct tls_server *server;  /* what OpenSSL makes of it: worker/tls/server.h */
};

struct listener {
    struct addr address;
    struct str text;            /* as it was written */
    struct str name;            /* empty: none */
    bool proxy_protocol;
    bool h2c;                   /* HTTP/2 in the clear, by prior knowledge, beside HTTP/1 */
    struct listener_tls tls;
    int line;
    unsigned index;
    unsigned series;            /* its counters, see shm/slots.h; set by the master */
    struct site_table *sites;   /* which site a host gets here; see worker/route.h */
};

/* As written. At run time it has one endpoint for each of its addresses (worker/upstream/upstream.h). */
struct server {
    struct addr address;        /* ip.family 0: it is given by name */
    struct str name;            /* lower case, without the port; empty: it is given by address */
    uint16_t port;              /* of a name */
    struct str text;
    int64_t weight;
    int64_t max_connections;    /* requests at once, over all workers; 0: any */
    int64_t slow_start;
    bool backup;
    struct upstream *upstream;
    unsigned index;             /* within its upstream */
    unsigned series;
    int line;
};

/* Each is a file in worker/upstream/ and a line in balance.c, in this order. */
enum { BALANCE_ROUND_ROBIN, BALANCE_LEAST_CONN, BALANCE_RANDOM_TWO, BALANCE_IP_HASH, BALANCE_HASH };

struct status_ranges {
    struct {
        int from, to;
    } *v;
    size_t n;
};

/* Active checks of an upstream: `health`. interval 0: none. */
struct checks {
    struct str http;            /* the target; empty: TCP */
    bool tcp;
    struct str host;            /* empty: the server's text */
    int64_t interval;
    int64_t timeout;
    int64_t rise;
    int64_t fall;
    struct status_ranges expect;
};

/* Passive ones: `eject`. failures 0: none. */
struct ejection {
    int64_t failures;
    int64_t window;
    int64_t time;
    int64_t max_ejected;        /* percent */
};

enum retry_on { RETRY_CONNECT = 1, RETRY_RESET = 2, RETRY_TIMEOUT = 4, RETRY_502 = 8, RETRY_503 = 16, RETRY_504 = 32 };

struct retries {
    int64_t attempts;           /* on top of the first */
    unsigned on;                /* enum retry_on, or-ed */
    int64_t budget;             /* percent */
};

struct waiting {                /* `queue` */
    int64_t size;               /* over all workers */
    int64_t timeout;
};

/* `tls` of an upstream. */
struct upstream_tls {
    bool on;                    /* it is there */
    bool verify;
    struct str ca;              /* paths; ca empty: the system's store */
    struct str server_name;     /* empty: the server's name, or address, as written */
    struct str cert, key;
    struct tls_client *client;  /* what OpenSSL makes of it: worker/tls/client.h */
};

enum { UPSTREAM_HTTP1, UPSTREAM_H2, UPSTREAM_H2C };

struct upstream {
    struct str name;
    struct server *servers;
    size_t server_count;
    int balance;
    struct template *hash_key;  /* NULL: not balance hash */
    int64_t hash_balance;       /* thousandths of the mean that a server may have at once; 0: any */
    struct waiting queue;
    struct checks health;
    struct ejection eject;
    struct retries retry;
    int64_t keepalive;
    int64_t keepalive_timeout;
    struct upstream_tls tls;
    int protocol;               /* UPSTREAM_... */
    unsigned index;
    unsigned first_server;      /* number of the first of its servers among all servers of the file */
    unsigned series;
    int line;
};

enum { SCHEME_ANY, SCHEME_HTTP, SCHEME_HTTPS };

/* Of a header, a parameter of the query or a cookie. */
struct condition {
    struct str name;
    struct str value;           /* where regex is NULL */
    const struct regex *regex;
};

struct conditions {
    struct condition *v;
    size_t n;
};

struct match {
    struct str path;            /* p NULL: no such condition */
    struct str prefix;          /* without a trailing slash, but for "/" alone */
    const struct regex *regex;
    struct str_list methods;    /* n 0: any */
    int scheme;
    struct conditions headers;
    struct conditions query;
    struct conditions cookies;
};

struct route {
    struct str name;
    struct match match;
    struct scope scope;
    struct upstream *proxy;     /* NULL: a module answers */
    struct site *site;
    int line;                   /* in the file */
    unsigned series;
};

struct site {
    struct str name;            /* its first host: $site */
    struct str_list hosts;      /* lower case */
    struct str_list listen;     /* names of listeners; n 0: all */
    struct scope scope;
    struct route *routes;
    size_t route_count;
    struct paths *paths;        /* its routes by path; see worker/paths.h */
    struct regex_set *regexes;  /* theirs, by the route's number; NULL: few */
    int line;
};

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_NOTICE, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

struct cache_memory {           /* size 0: no cache */
    size_t size;
    size_t max_object;
    struct str file;            /* empty: none */
};

struct conf {
    struct arena *arena;
    struct str file;            /* its path, for messages */

    /* the master's */
    struct str user, group;     /* empty group: the user's own */
    int64_t workers;            /* 0: auto */
    struct str pid_file;        /* empty: off */
    struct str stats_file;
    int64_t stats_interval;
    unsigned error_log;
    int log_level;
    int64_t drain_timeout;
    int64_t drain_tunnels;

    struct log_target *logs;
    size_t log_count;

    struct cidr_list trusted_proxies;
    size_t rate_limit_memory;
    struct cache_memory cache_memory;
    struct str_list resolver;   /* ADDRESS:PORT of name servers; n 0: those of the system */
    struct scope scope;
    struct listener *listeners;
    size_t listener_count;
    struct upstream *upstreams;
    size_t upstream_count;
    size_t server_count;        /* of all upstreams */
    struct site *sites;
    size_t site_count;
};

#endif
