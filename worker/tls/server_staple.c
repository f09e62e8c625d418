/*
 * The response that goes with a certificate. Knows that OpenSSL asks for it once it has chosen which certificate of
 * the context it is, and takes bytes from its own allocator.
 */
#include <string.h>
#include <time.h>

#include "shm/staples.h"
#include "worker/base/clock.h"
#include "worker/tls/server_parts.h"

/* The one that was chosen. */
static const struct tls_held *
chosen(SSL *ssl)
{
    const struct tls_set *set = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const X509 *leaf = SSL_get_certificate(ssl);

    for (int i = 0; leaf != NULL && i < KINDS; i++)
        if (set->held[i] != NULL && set->held[i]->shown.leaf == leaf)
            return set->held[i];
    return NULL;
}

static size_t
response_of(const struct tls_held *h, unsigned char der[STAPLES_MOST])
{
    int64_t now_s = clock_wall_ms() / 1000;
    unsigned place;

    if (h->shown.file) {
        if (h->response == NULL || now_s >= h->response_until)
            return 0;
        memcpy(der, h->response, h->response_size);
        return h->response_size;
    }
    if (tls_shared.staples == NULL || (place = staples_place(tls_shared.staples, h->shown.digest, now_s)) == 0)
        return 0;
    return staples_get(tls_shared.staples, place, now_s, der);
}

static int
staple(SSL *ssl, void *with)
{
    unsigned char der[STAPLES_MOST], *copy;
    const struct tls_held *h = chosen(ssl);
    size_t n = h != NULL ? response_of(h, der) : 0;

    (void)with;
    if (n == 0 || (copy = OPENSSL_memdup(der, n)) == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)n);
    return SSL_TLSEXT_ERR_OK;
}

void
tls_server_staple_use(SSL_CTX *ctx)
{
    SSL_CTX_set_tlsext_status_cb(ctx, staple);
}
