/*
 * YAML text to a tree of nodes that know where they stand. Bounded whatever the text: in depth, in
 * nodes (a node reached by an alias counts again, with all below it) and in bytes.
 */
#ifndef WEIR_YAML_H
#define WEIR_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"

#define YAML_DEPTH 64
#define YAML_NODES 1000000
#define YAML_BYTES (16 * 1024 * 1024)

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    int line, column;           /* from 1; of what an alias stands for, where that is written */
    int lead;                   /* columns from there to the text's first byte, where the text stands in
                                   the file byte for byte; else -1 */
    struct str text;            /* scalar; of a null in a key as it was written */
    struct node **keys;         /* map: scalars */
    struct node **items;        /* list, map */
    size_t n;
    size_t weight;              /* it and all below; 0 while that is being read */
    int height;
};

struct yaml_error {
    int line, column;
    struct str text;
};

struct yaml {
    struct node *root;          /* NULL: an empty document, or one that cannot be read */
    struct yaml_error *errors;
    size_t error_count;
};

/*
 * Everything in the arena. What is no YAML ends the reading with one error; keys that stand twice are
 * an error each, and root is there all the same.
 */
void yaml_parse(struct yaml *y, struct str text, struct arena *a);

/* The value of a map's key; NULL: n is no map, or it has no such key. */
const struct node *yaml_get(const struct node *n, const char *key);

/* Of what stands in a list or alone: how many, and one. */
size_t yaml_count(const struct node *n);
const struct node *yaml_item(const struct node *n, size_t i);

#endif
