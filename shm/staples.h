/*
 * OCSP responses that workers share: one worker asks the responder (a lease says which), all staple what it got. Found
 * by the digest of the certificate. Bytes alone: what they say is the worker's to verify before they are put here.
 * The segment is made by the first master and inherited, over reloads and upgrades.
 */
#ifndef WEIR_STAPLES_H
#define WEIR_STAPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAPLES_MOST 8192       /* bytes of a response */

struct staples;

/* Master: for at least that many certificates. NULL with errno. */
struct staples *staples_create(unsigned certificates);
struct staples *staples_attach(int fd);
bool staples_fits(const struct staples *s, unsigned certificates);
int staples_fd(const struct staples *s);
void staples_detach(struct staples *s);

/*
 * The place of a certificate, taken if need be; 0: there is none left. One not asked for in a week may go to
 * another. Times are CLOCK_REALTIME in seconds.
 */
unsigned staples_place(struct staples *s, const unsigned char digest[32], int64_t now_s);

/* Worker with the lease: what to staple from now on, until `until_s`. n 0: nothing any more. */
void staples_put(struct staples *s, unsigned place, const void *der, size_t n, int64_t until_s);

/* Worker: copies the response that is good at now_s; how long it is, 0: there is none. */
size_t staples_get(const struct staples *s, unsigned place, int64_t now_s, unsigned char der[STAPLES_MOST]);

/* Until when what is there is good; 0: nothing is there. */
int64_t staples_until(const struct staples *s, unsigned place);

#endif
