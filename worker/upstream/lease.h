/*
 * The lease: one worker at a time, of the newest generation, probes servers, resolves names and asks for OCSP
 * responses for all. Taken in shared memory, renewed four times a second, taken over when its holder dies.
 */
#ifndef WEIR_LEASE_H
#define WEIR_LEASE_H

/* Worker, at its start, after upstreams_init: asks for the lease at once and again and again. */
void lease_init(void);

/* The worker drains: gives it up, so that another has it within a moment. */
void lease_end(void);

#endif
