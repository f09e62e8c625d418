/*
 * The window of a stream towards us: how many bytes of content its sender may have under way, what stands unread here
 * included. It begins at 64 KiB and doubles, up to 1 MiB, while its reader keeps up. No I/O.
 *
 * What the windows of a connection's streams add up to is at most H2_HOLDS_MOST: each of the streams that may be open
 * has its first 64 KiB, and what is left over is lent to those that grow.
 */
#ifndef WEIR_H2_WINDOW_H
#define WEIR_H2_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_WINDOW_FIRST (64 * 1024)
#define H2_WINDOW_MOST (1024 * 1024)
#define H2_HOLDS_MOST (8 * 1024 * 1024)

struct h2_window {
    size_t size;
    uint64_t eaten;             /* bytes that the reader took, and whose window was given back */
    uint64_t grown_at;          /* eaten, when it last grew */
};

void h2_window_init(struct h2_window *w);

/* What is left over for all, with that many streams. */
size_t h2_window_spare(unsigned streams);

/*
 * The reader has taken bytes, `eaten` in all, and `unread` stand here. Returns how many are new: their window is to be
 * given back. *grows: w->size was doubled, out of *spare. Content that is sent to a server again is eaten once more:
 * that gives nothing back.
 */
size_t h2_window_eaten(struct h2_window *w, uint64_t eaten, size_t unread, size_t *spare, bool *grows);

/* One more of the first size, because the sender can send no more and what it has sent is waited for as a whole. */
bool h2_window_extend(struct h2_window *w, size_t *spare);

/* The stream is over: what it had borrowed goes back. */
void h2_window_return(struct h2_window *w, size_t *spare);

#endif
