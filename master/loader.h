/*
 * The loader's inside: what the parts of it (load.c and load_*.c) share. Errors never end the
 * reading: what cannot be read is left as it is, and the next thing is read.
 */
#ifndef WEIR_LOADER_H
#define WEIR_LOADER_H

#include "master/keys.h"
#include "master/yaml.h"
#include "worker/base/suggest.h"
#include "worker/conf.h"

struct remark;

/* The modules' structs as they were written, before `ready`: what inner levels start from. */
struct layer {
    struct scope *scope;
    void **raw;
};

struct loader {
    struct arena *arena;        /* the configuration's */
    struct arena *scratch;      /* nodes and messages: gone once it is loaded */
    struct conf *conf;
    const struct regex *groups; /* of the route or rule that is read, for strings with captures */
    bool groups_missing;        /* there should be some, but that was told as an error already */
    struct layer top;
    struct layer site;          /* of the site that is read */
    struct site *in_site;
    bool users;                 /* users, groups and files that are named are looked at */
    struct str place;           /* of what is read, by name: see struct ready */
    struct tally *tally;        /* of the names of the site's routes (load_sites.c) */

    struct remark *remarks;
    size_t remark_count, remark_cap;
    size_t errors;
};

/* The message as printf. */
void load_error(struct loader *l, const struct node *n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void load_warning(struct loader *l, const struct node *n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The error is `offset` bytes into the node's text. */
void load_error_in(struct loader *l, const struct node *n, size_t offset, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* "`keepalive` wants a whole number, not a list" */
void load_wrong(struct loader *l, const struct key *k, const struct node *n);

/* Text of the file for a message: shortened where it is long. */
struct str load_show(struct loader *l, struct str text);

/* One value into `at`. fresh: nothing is there that an inner mapping could be laid over. */
void load_value(struct loader *l, const struct key *k, const struct node *n, void *at, unsigned level,
                bool fresh);

/* A mapping by a table, into the struct at base. Where it is fresh, keys that are not given get their
 * defaults. */
void load_section(struct loader *l, const struct key *keys, const struct node *n, void *base, unsigned level,
                  bool fresh);

/* The parts of load_section, for mappings that several tables share. */
struct given {
    const struct node *key, *value;
};
size_t load_count(const struct key *keys);
const struct key *load_find(const struct key *keys, struct str name);
/* What of the map the table knows, by the key's place in it; taken[i] is set for pair i of the map. */
struct given *load_claim(struct loader *l, const struct key *keys, const struct node *map, bool *taken);
/* Into base; n is where a key is missed. */
void load_fill(struct loader *l, const struct key *keys, const struct given *given, const struct node *n,
               void *base, unsigned level, bool fresh);
/* A node for a default, as one would have written it at n. */
const struct node *load_default(struct loader *l, const struct key *k, const struct node *n);

/*
 * A list of strings, in the arena; false with an error for anything else. Elements that are no
 * strings are an error each, and empty in the list.
 */
bool load_strings(struct loader *l, const struct key *k, const struct node *n, struct str_list *list);

/* load_scope.c: once a site's routes are there, the EDIT hooks of modules that have them on all of its routes. */
void load_site_edits(struct loader *l, struct site *s);

/* load_scope.c: the policies and modules of one level. NULL for outer: it is the outermost. */
struct layer load_scope(struct loader *l, const struct key *own, const struct node *map, const bool *taken,
                        struct scope *scope, const struct layer *outer, unsigned level);
/* The modules that answer requests: which of them the map has, and "`proxy`, `redirect` or `respond`". */
size_t load_answers(const struct node *map, const char **names, size_t most);
struct str load_answer_names(struct loader *l);

/* load_sites.c */
int load_sites(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_hosts(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_site_listen(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_routes(struct loader *l, const struct key *k, const struct node *n, void *at);
void load_check_sites(struct loader *l, const struct node *sites, const struct node *listen);

/* load_match.c */
int load_path(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_prefix(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_methods(struct loader *l, const struct key *k, const struct node *n, void *at);
struct str load_match_text(const struct match *m, struct arena *a);

/* load_match.c */
int load_conditions(struct loader *l, const struct key *k, const struct node *n, void *at);

/* load_upstream.c: how an upstream treats its servers. */
int load_check_target(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_check_host(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_expect(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_retry_on(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_hash_balance(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_resolver(struct loader *l, const struct key *k, const struct node *n, void *at);
void load_check_upstream(struct loader *l, struct upstream *u, const struct node *n);

/* load_tls_client.c: `tls` and `protocol` of an upstream. */
int load_server_name(struct loader *l, const struct key *k, const struct node *n, void *at);
void load_check_upstream_tls(struct loader *l, struct upstream *u, const struct node *n);

/* load_tls.c: `tls` of a listener. */
int load_alpn(struct loader *l, const struct key *k, const struct node *n, void *at);
void load_check_listeners_tls(struct loader *l, const struct node *listen);
/*
 * A file that `key` at n names; no path, no bytes, and that is good. The bytes are wiped and gone once all is loaded.
 * False: it cannot be read, which was told. A `key` that everybody may read is warned of.
 */
struct tls_pem;
bool load_tls_file(struct loader *l, const struct node *n, const char *key, struct str path, struct tls_pem *pem);

/* load_servers.c: what has an address. */
int load_listen_address(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_server_address(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_proxy(struct loader *l, const struct key *k, const struct node *n, void *at);
void load_check_listeners(struct loader *l, const struct node *listen);
void load_check_upstreams(struct loader *l, const struct node *upstreams);

/* load_cache.c: the cache's memory, against itself and the rest of the file. */
void load_check_cache(struct loader *l, const struct node *root);

/* load_master.c: the keys of the master itself. */
int load_user(struct loader *l, const struct key *k, const struct node *n, void *at);
int load_workers(struct loader *l, const struct key *k, const struct node *n, void *at);

/* Things that have to differ: what they are told apart by, and where they stand. */
struct named {
    struct str name;
    const struct node *node;
};
/* Sorts; an error for each that is the same as one before: "WHAT `name` stands twiceWHERE, first on line N". */
void load_twins(struct loader *l, struct named *v, size_t n, const char *what, const char *where);

#endif
