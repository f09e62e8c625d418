/*
 * The radix tree. It alone knows the nodes. A node stands for a prefix: one of the set's networks, or
 * one at which two of them part. Below it are those that begin with it, by their next bit; so each
 * node's prefix is longer than its parent's, and no path is longer than an address has bits.
 */
#include "worker/base/radix.h"

#include <sys/socket.h>

struct node {
    uint8_t b[16];              /* zero behind the prefix */
    uint8_t bits;
    const struct cidr *network; /* NULL: only a fork */
    struct node *child[2];
};

struct radix {
    struct node *v4, *v6;
};

struct radix *
radix_new(struct arena *a)
{
    return arena_zalloc(a, sizeof(struct radix));
}

static unsigned
bit(const uint8_t *b, unsigned i)
{
    return b[i / 8] >> (7 - i % 8) & 1;
}

/* How many bits from the first on are the same, `most` at most. */
static unsigned
common(const uint8_t *a, const uint8_t *b, unsigned most)
{
    unsigned n = 0;

    while (n + 8 <= most && a[n / 8] == b[n / 8])
        n += 8;
    while (n < most && bit(a, n) == bit(b, n))
        n++;
    return n;
}

static struct node *
new_node(const uint8_t *b, unsigned bits, struct arena *a)
{
    struct node *node = arena_zalloc(a, sizeof(*node));

    memcpy(node->b, b, (bits + 7) / 8);
    if (bits % 8 != 0)
        node->b[bits / 8] &= (uint8_t)(0xff << (8 - bits % 8));
    node->bits = (uint8_t)bits;
    return node;
}

/* A node of the first `bits` bits of `below`, put above it. */
static struct node *
put_above(struct node **link, unsigned bits, struct arena *a)
{
    struct node *below = *link, *node = new_node(below->b, bits, a);

    node->child[bit(below->b, bits)] = below;
    return *link = node;
}

void
radix_add(struct radix *t, const struct cidr *c, struct arena *a)
{
    struct node **link = c->ip.family == AF_INET ? &t->v4 : &t->v6;

    while (*link != NULL) {
        struct node *node = *link;
        unsigned same = common(node->b, c->ip.b, node->bits < c->bits ? node->bits : c->bits);

        if (same < node->bits)
            node = put_above(link, same, a);
        if (node->bits == c->bits) {
            if (node->network == NULL)
                node->network = c;
            return;
        }
        link = &node->child[bit(c->ip.b, node->bits)];
    }
    *link = new_node(c->ip.b, c->bits, a);
    (*link)->network = c;
}

const struct cidr *
radix_find(const struct radix *t, const struct ip *ip, unsigned *visited)
{
    unsigned width = ip->family == AF_INET ? 32 : 128, count = 0;
    const struct node *node = ip->family == AF_INET ? t->v4 : ip->family == AF_INET6 ? t->v6 : NULL;
    const struct cidr *found = NULL;

    while (node != NULL) {
        count++;
        if (common(node->b, ip->b, node->bits) < node->bits)
            break;
        if (node->network != NULL)
            found = node->network;
        node = node->bits < width ? node->child[bit(ip->b, node->bits)] : NULL;
    }
    if (visited != NULL)
        *visited = count;
    return found;
}
