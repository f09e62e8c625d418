/*
 * What an OCSP response says of a certificate (RFC 6960): whether clients would take it. Master, for files, and
 * workers, for what was fetched. Nothing is asked for here.
 */
#ifndef WEIR_TLS_RESPONSE_H
#define WEIR_TLS_RESPONSE_H

#include <stddef.h>
#include <stdint.h>

struct x509_st;

#define RESPONSE_MOST 8192      /* bytes */

/*
 * Until when (CLOCK_REALTIME in seconds) a response may be stapled to `leaf`: it parses, is about that certificate,
 * says "good", is signed by `issuer` or by whom the issuer lets sign, and now_s is between its two updates. One that
 * has no next update is good for a day. `issuer` NULL: it is looked for in the response. 0: it may not; *why says so in
 * a few words. *this_s, where not NULL: when what it says was known.
 */
int64_t response_until(const void *der, size_t n, struct x509_st *leaf, struct x509_st *issuer, int64_t now_s,
                       int64_t *this_s, const char **why);

/* What *why is where that is said by whoever may say so. */
extern const char response_revoked[];

#endif
