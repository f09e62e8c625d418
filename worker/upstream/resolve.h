/*
 * Names of servers, resolved with c-ares by the worker that holds the lease, again and again by their TTL
 * (floor 1 s, ceiling 5 min), and published in shared memory. What comes from name servers is
 * an attacker's data: bounded in number, and only addresses that a server can have.
 */
#ifndef WEIR_RESOLVE_H
#define WEIR_RESOLVE_H

/* The lease is ours / no more. */
void resolve_start(void);
void resolve_stop(void);

#endif
