/*
 * Pipes for splice(2): a flow's bytes that never come to user space. A flow has one only while it holds
 * something; empty ones are kept for the next, a bounded number of them a process.
 */
#ifndef WEIR_PIPE_H
#define WEIR_PIPE_H

#include <stdbool.h>
#include <stddef.h>

struct pipe {
    int fd[2];                  /* read from [0], write to [1] */
    size_t bytes;               /* in it; whoever moves some keeps count */
    size_t size;                /* what the kernel lets it hold at best; full pages are counted, so it may be
                                   full with less */
    struct pipe *next;          /* in the pool */
};

/*
 * An empty pipe, non-blocking, that holds `want` bytes where the kernel allows it (else what it gives by default) and
 * its pages are half full at least. NULL where there is none to be had that would be worth its calls: copy instead.
 */
struct pipe *pipe_get(size_t want);

/* No more than that many at a time from now on: descriptors are for connections first. */
void pipe_limit(unsigned most);

/* One that still holds bytes is closed. */
void pipe_put(struct pipe *p);

/* Whether nothing more goes in until something comes out. */
bool pipe_full(const struct pipe *p);

/* Closes what the pool keeps. */
void pipe_flush(void);

#endif
