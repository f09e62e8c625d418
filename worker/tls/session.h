/*
 * TLS on a channel: OpenSSL between the socket and whoever reads and writes. It alone knows records: small ones while a
 * connection begins or has been idle, so that the first bytes can be used at once; the largest after that. What OpenSSL
 * wants to send stands here, bounded, until the socket takes it. Runs in the worker.
 */
#ifndef WEIR_TLS_SESSION_H
#define WEIR_TLS_SESSION_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "worker/base/str.h"

struct channel;
struct ssl_st;
struct tls;

enum tls_step { TLS_STEP_DONE, TLS_STEP_WAIT, TLS_STEP_FAILED };

/*
 * From now on the channel speaks TLS; `ssl` is the session's. `early`: bytes that were read off the socket already
 * (behind a PROXY header); copied.
 */
void tls_begin(struct channel *ch, struct ssl_st *ssl, bool server, struct str early);

/*
 * One step of the handshake: at most one signature. Call again when the channel is ready; of a server's, at once where
 * it still is readable.
 */
enum tls_step tls_handshake(struct channel *ch);

/* Of one that failed: why, in a few words, good until the next; NULL: the peer left. */
const char *tls_why(const struct channel *ch);

/* It failed since the peer speaks HTTP in the clear: it can be told so, nothing has been written yet. */
bool tls_met_http(const struct channel *ch);

/* Of a handshake that is over. */
bool tls_is_h2(const struct channel *ch);       /* ALPN chose h2 */
bool tls_resumed(const struct channel *ch);
struct ssl_st *tls_ssl(const struct channel *ch);

/* For worker/channel.c alone: as channel_read and its kin. */
ssize_t tls_read(struct channel *ch, char *to, size_t n);
ssize_t tls_write(struct channel *ch, const struct iovec *iov, int n, bool more);
int tls_flush(struct channel *ch);
void tls_shutdown(struct channel *ch);
void tls_free(struct channel *ch);

#endif
