/*
 * One worker as its master sees it: started, told, killed, reaped. A child is a place that
 * one process after the other takes: the same number, the same generation.
 */
#ifndef WEIR_CHILD_H
#define WEIR_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct master;
struct generation;

#define NEVER INT64_MAX

struct child {
    pid_t pid;                  /* 0: none runs */
    int control;                /* -1: none */
    unsigned row;
    unsigned series;            /* of the number's counters */
    bool ready;                 /* it has said that it accepts */
    bool died;                  /* its predecessor did: its being ready is worth a line */
    int64_t start_at;           /* when the next one is due, clock_ms; NEVER while one runs or none shall */
    int64_t kill_at;            /* when SIGKILL is due; NEVER */
    int64_t backoff;            /* ms that the next start waits; 0: none */
    unsigned failures;          /* deaths in a row before it was ready */
};

enum child_start { CHILD_STARTED, CHILD_FAILED, CHILD_NO_ROW };

/* Forks. Where it fails the next try is put off. */
enum child_start child_start(struct master *m, struct generation *g, unsigned number);

/* Reads its messages: it is ready, or its end of the socket is closed. */
void child_read(const struct generation *g, unsigned number);

void child_drain(struct child *c);

/* Tells it to end at once; in `grace` ms it is killed. */
void child_end(struct child *c, int64_t grace);

/* It has ended: counts and logs that, and says when the next one is due. */
void child_reaped(struct master *m, struct generation *g, unsigned number, int status);

/* Kills it where that is due, or where it has hung for too long. */
void child_check(struct master *m, const struct generation *g, unsigned number);

#endif
