/*
 * Active checks, by the worker that holds the lease: over HTTP or TCP, each endpoint of each upstream that
 * asks for them, at its interval. rise and fall are counted in shared memory, so they go on with the next holder.
 */
#ifndef WEIR_PROBE_H
#define WEIR_PROBE_H

/* The lease is ours / no more. */
void probe_start(void);
void probe_stop(void);

#endif
