/*
 * The master's signals, as a descriptor to poll.
 */
#ifndef WEIR_SIGNALS_H
#define WEIR_SIGNALS_H

/* Blocks what the master handles and returns the descriptor to poll; -1 with errno. */
int signals_open(void);

/* The next signal that has come, or 0. */
int signals_next(int fd);

/* In a worker to be: what is meant for the master alone is ignored, the rest is as a program finds it. */
void signals_worker(void);

/* Before exec: as a program expects to find them. */
void signals_reset(void);

#endif
