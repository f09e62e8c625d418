/*
 * OCSP responses for certificates that name a responder, fetched by the worker that holds the lease and shared by all
 * (shm/staples.h). Only what clients would take is published (response.h); what was published stays until its time is
 * over, whatever becomes of the responder, but for a certificate that turns out to be revoked.
 */
#ifndef WEIR_TLS_OCSP_H
#define WEIR_TLS_OCSP_H

#include <stdbool.h>

struct conf;

/* Whether there is any certificate to ask about. */
bool ocsp_is_of_use(const struct conf *conf);

/* The lease is ours, and resolve_start was called / no more, and the resolver is closed after it. */
void ocsp_start(void);
void ocsp_stop(void);

#endif
