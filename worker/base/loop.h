/*
 * The event loop of a worker: epoll, edge-triggered, descriptors registered once; timers; tasks that
 * run before the loop sleeps; memory that is freed when a turn is over, so that no callback ever
 * stands on what another has freed. One loop a process.
 */
#ifndef WEIR_LOOP_H
#define WEIR_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/base/timer.h"

/* A descriptor on the loop. Readiness is remembered: whoever meets EAGAIN clears the flag. */
struct io {
    int fd;
    bool readable;
    bool fresh;                 /* readable was set anew: for who keeps bytes between the socket and its reader (TLS) */
    bool writable;
    bool hangup;                /* the peer closed, or half-closed, or an error stands: reading tells which */
    bool broken;                /* nothing goes through any more, either way: a reset, most likely */
    void (*ready)(struct io *io);   /* called after new readiness */
};

/* A function to run before the loop sleeps; posting it twice is posting it once. */
struct task {
    void (*run)(struct task *t);
    struct task *next;
    bool posted;
};

/* Memory to free at the end of the turn. */
struct deferred {
    void (*free)(struct deferred *d);
    struct deferred *next;
};

void loop_init(void);

/* Registers for reading and writing at once. False with errno where the kernel refuses. */
bool loop_add(struct io *io);
/* Must come before close(2): a descriptor shared with other processes would stay registered. */
void loop_remove(struct io *io);
/* Closes a descriptor that is this process's alone, which takes it off the loop. */
void loop_close(struct io *io);
/* For listening sockets: level-triggered, shared with others, reading only. */
bool loop_add_listener(struct io *io);

void loop_post(struct task *t);
void loop_unpost(struct task *t);
void loop_defer(struct deferred *d);

/* Turns until loop_stop. `turn` (may be NULL) runs once a turn, after events. */
void loop_run(void (*turn)(void));
/* How many turns there were, this one included. */
uint64_t loop_turns(void);
/* One turn: waits until there is something to do. */
void loop_turn(void (*turn)(void));
void loop_stop(void);

#endif
