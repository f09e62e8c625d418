/*
 * Ticket keys: what all workers, of all generations and over upgrades, seal and open TLS session tickets with (RFC
 * 5077, RFC 8446 4.6.1). The newest seals; it and two older ones open. The segment is made by the first master and
 * inherited; never in a file, never in a core dump. A master writes, workers read without a lock.
 */
#ifndef WEIR_TICKETS_H
#define WEIR_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

#define TICKETS_KEYS 3          /* the newest, and two old ones */
#define TICKETS_ROTATE_MS (INT64_C(12) * 3600 * 1000)

struct ticket_key {
    unsigned char name[16];     /* stands in the ticket, in the clear */
    unsigned char aes[32];
    unsigned char hmac[32];
};

struct tickets;

/* Master. NULL with errno. It has no key yet: tickets_rotate. */
struct tickets *tickets_create(void);

/* Master, after an upgrade: as slots_attach. */
struct tickets *tickets_attach(int fd);
int tickets_fd(const struct tickets *t);
void tickets_detach(struct tickets *t);

/* Master: the clock is CLOCK_REALTIME in ms: keys outlive processes. True where a new key is due (or there is none). */
bool tickets_due(const struct tickets *t, int64_t now_ms);

/*
 * Master: `key` is the newest from now on, where one is due still; the oldest, and what is older than 36 h, is wiped.
 * Two masters may do it at once: one of them wins.
 */
void tickets_rotate(struct tickets *t, const struct ticket_key *key, int64_t now_ms);

/* Any process: the newest key; false: there is none. */
bool tickets_newest(const struct tickets *t, struct ticket_key *key);

/* Any process: the key of that name; *old: it is not the newest, the ticket is to be made anew. False: it is gone. */
bool tickets_find(const struct tickets *t, const unsigned char name[16], struct ticket_key *key, bool *old);

#endif
