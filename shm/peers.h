/*
 * Peers: how many connections each client address has, over all workers. Each row of the slots has a
 * table of its own, written by its worker alone; a limit is held as cells.h says: count yourself, add
 * all rows up, step back if that is too much. When a worker dies its table goes with its row.
 *
 * Made by the first master, inherited over fork and exec.
 */
#ifndef WEIR_PEERS_H
#define WEIR_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peers;

/* Master: for rows 1 to `rows` and so many connections a row. NULL with errno. */
struct peers *peers_create(unsigned rows, size_t connections);
struct peers *peers_attach(int fd, unsigned rows);
int peers_fd(const struct peers *p);
void peers_detach(struct peers *p);
bool peers_fits(const struct peers *p, size_t connections);
/* Master, when a row is folded. */
void peers_forget_row(struct peers *p, unsigned row);

/* An address, or the part of it that says whose it is, as a number that is never 0; keyed. */
uint64_t peers_digest(const struct peers *p, const void *address, size_t n);

/*
 * Worker: counts one connection of that peer; true if it has at most `most` with it, over all rows; else
 * nothing was counted. A peer that found no room in the table is let in uncounted (*counted false).
 */
bool peers_enter(struct peers *p, unsigned row, uint64_t peer, uint32_t most, bool *counted);
void peers_leave(struct peers *p, unsigned row, uint64_t peer);
uint32_t peers_count(const struct peers *p, uint64_t peer);

#endif
