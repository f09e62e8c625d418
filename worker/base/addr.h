/*
 * Socket addresses and sets of networks. A struct addr is plain data, compared and copied by value;
 * its unix path is a slice that its owner keeps alive.
 */
#ifndef WEIR_ADDR_H
#define WEIR_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"

/* An IP address: IPv4 is kept as IPv4; a mapped one (::ffff:a.b.c.d) is turned into it. */
enum { IP_UNKNOWN = 255 };

struct ip {
    uint8_t family;             /* AF_INET, AF_INET6, 0: none (a unix socket's peer), or IP_UNKNOWN: nobody
                                   knows it, and it is in no list */
    uint8_t b[16];              /* network order; IPv4 in the first four, the rest zero */
};

struct addr {
    struct ip ip;               /* family AF_UNIX: a unix socket */
    uint16_t port;              /* host order */
    struct str path;            /* unix */
};

/*
 * ADDRESS:PORT, [IPV6]:PORT, or unix:/path. 0, or -1 with *why set to what is wrong (a constant).
 * A host name is none: see addr_is_name.
 */
int addr_parse(struct addr *a, struct str text, const char **why);

/* NAME:PORT whose NAME is no address literal but a valid DNS name. */
bool addr_is_name(struct str text);

/* "10.0.0.1:80", "[::1]:80", "unix:/path". */
struct str addr_text(const struct addr *a, struct arena *arena);

bool addr_equal(const struct addr *a, const struct addr *b);

/* The length of what was filled in, or 0 where a unix path is too long. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss);
void addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t n);

/* An address literal without a port, IPv6 without brackets. */
bool ip_parse(struct ip *ip, struct str text);
/* Into buf of at least 46 bytes; returns the length. "unix" for none, "unknown". */
size_t ip_format(const struct ip *ip, char *buf);
bool ip_equal(const struct ip *a, const struct ip *b);

/*
 * How many of its bytes say whose it is: who has an IPv6 address has a /64 at least, and takes of it what
 * addresses it likes.
 */
static inline size_t
ip_network(const struct ip *ip)
{
    return ip->family == AF_INET ? 4 : ip->family == AF_INET6 ? 8 : 0;
}

/* A network: ADDRESS or ADDRESS/BITS. Host bits that are set are an error. */
struct cidr {
    struct ip ip;
    uint8_t bits;
    int line;                   /* in the file it was read from */
};

int cidr_parse(struct cidr *c, struct str text, const char **why);
bool cidr_has(const struct cidr *c, const struct ip *ip);
/* As it is written, "unix:" for family 0, into buf of at least 50 bytes; returns the length. */
size_t cidr_format(const struct cidr *c, char *buf);

/*
 * A set of networks. It is sealed once it is complete; then a lookup costs a walk down a radix tree,
 * however many there are. `outer` is a sealed set that is part of this one.
 */
struct cidr_list {
    struct cidr *v;
    size_t n;
    bool unix_peers;            /* the list names "unix:": peers on unix sockets */
    int unix_line;
    struct radix *radix;
    const struct cidr_list *outer;
};

void cidr_list_seal(struct cidr_list *l, struct arena *a);
/*
 * The network that has the address: the longest, a list's own before those of its `outer`. A unix socket's peer
 * is found as a network of family 0. False: none has.
 */
bool cidr_list_find(const struct cidr_list *l, const struct ip *ip, struct cidr *found);
/* The line of the file on which it stands; -1: none has the address. */
int cidr_list_line(const struct cidr_list *l, const struct ip *ip);
bool cidr_list_has(const struct cidr_list *l, const struct ip *ip);

#endif
