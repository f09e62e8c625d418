/*
 * Key tables: the one description of a configuration key. The loader (master/load.c) fills structs
 * by them, `weir -k` prints them as the reference, a test holds man/weir.yaml.5 against them. Core
 * sections (master/keys.c) and modules use the same tables.
 */
#ifndef WEIR_KEY_H
#define WEIR_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"

/* What a key's value is, and what the loader writes at `offset`. */
enum key_type {
    KEY_BOOL,                   /* bool */
    KEY_INT,                    /* int64_t, within min and max */
    KEY_SIZE,                   /* size_t, bytes: 4k 64m 1g */
    KEY_DURATION,               /* int64_t, milliseconds: 500ms 5s 10m 1h 7d; 0 is `none` */
    KEY_STRING,                 /* struct str */
    KEY_FILE,                   /* struct str: an absolute path; `off` leaves it empty */
    KEY_LOG,                    /* unsigned: index into conf.logs. A path, stderr, or syslog */
    KEY_PERCENT,                /* int64_t: 20% */
    KEY_RATE,                   /* struct rate: 10/s 600/m 5000/h */
    KEY_CHOICE,                 /* int: index into words */
    KEY_TEMPLATE,               /* struct template *: a string ($) */
    KEY_TEMPLATES,              /* struct template_map: name: string ($) */
    KEY_EDITS,                  /* struct edits: a mapping of field names to what becomes of them, laid over the
                                   outer level's by name: a string ($), ~, {add: ($)} or {default: ($)} */
    KEY_STATUSES,               /* struct status_times: a mapping of statuses (200 to 599) to durations, laid over the
                                   outer level's by status */
    KEY_STRINGS,                /* struct str_list; a single value is a list of one */
    KEY_NETWORKS,               /* struct cidr_list; a single value is a list of one */
    KEY_REGEX,                  /* struct regex * */
    KEY_SECTION,                /* a mapping by `keys`, whose offsets are from this key's offset */
    KEY_LIST,                   /* struct key_array of structs of `size` bytes, each by `keys`. A scalar
                                   element is the element's first key, a single element a list of one; a
                                   mapping is laid over an outer level's list of one */
    KEY_NAMED,                  /* struct key_array: a mapping of names to structs; the name is written
                                   as the struct's first member, a struct str */
    KEY_CUSTOM,                 /* `custom` of the loader reads it: core keys with a grammar of their own */
};

/* Where a key may stand. */
enum {
    KEY_TOP = 1,
    KEY_SITE = 2,
    KEY_ROUTE = 4,
    KEY_POLICY = KEY_TOP | KEY_SITE | KEY_ROUTE,
};

struct loader;
struct node;

struct key {
    const char *name;
    enum key_type type;
    size_t offset;
    const char *def;            /* as one would write it in YAML; NULL: required; "": absent by default */
    const char *help;           /* one line */

    unsigned levels;            /* KEY_TOP...; 0 inside a section: wherever the section stands */
    int64_t min, max;           /* of an int, size or duration; both 0: any that isn't negative */
    const char *const *words;   /* KEY_CHOICE, NULL-terminated; an empty one stands for a default that cannot be
                                   written. KEY_CUSTOM: the first says what the key wants */
    const struct key *keys;     /* section, list, named: ends with a name of NULL */
    size_t size;                /* list, named: of an element */
    size_t line;                /* list, named: offset + 1 of an int in the element, for its line in the file */
    bool adds;                  /* networks: an inner level's list is added to the outer's, not put in its place */
    bool off;                   /* section that is no policy: `off` leaves it all zero */
    bool groups;                /* regex in a list's element: strings of keys that come after it in the table have
                                   its groups, not the route's */
    /* KEY_TEMPLATE (a struct template) and each of KEY_EDITS (a struct edit): why it cannot be, or NULL. *offset:
     * what it is about, in bytes into the text. Runs in the master */
    const char *(*refuse)(const void *value, size_t *offset);
    const char *(*doubt)(int status);       /* KEY_STATUSES: what is to be warned of, or NULL. Runs in the master */
    bool early;                 /* template, edits: made before there is a response, so its variables are a warning */
    bool varies;                /* template: one without any variable is a warning */
    int (*custom)(struct loader *l, const struct key *k, const struct node *n, void *at);
};

struct key_array {
    void *v;
    size_t n;
};

struct str_list {
    struct str *v;
    size_t n;
};

struct template;

struct rate {
    int64_t count;
    int64_t per_ms;             /* 1000, 60,000 or 3,600,000 */
};

struct status_times {
    struct {
        int status;
        int64_t ms;
    } *v;
    size_t n;
};

enum edit_kind { EDIT_SET, EDIT_REMOVE, EDIT_ADD, EDIT_DEFAULT };

struct edit {
    struct str name;            /* a token, as written; no two are the same but for case */
    enum edit_kind kind;
    struct template *value;     /* NULL: EDIT_REMOVE */
    int line;
};

struct edits {
    struct edit *v;
    size_t n;
};

struct template_map {
    struct {
        struct str name;
        struct template *value;
    } *v;
    size_t n;
};

#endif
