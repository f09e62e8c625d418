/*
 * Session tickets (RFC 5077, RFC 8446 4.6.1) under keys that all workers share. Knows what a ticket is sealed with:
 * AES-256-CBC, then HMAC-SHA256 over it, which OpenSSL verifies before it decrypts; and that OpenSSL verifies no
 * certificate again where a session is resumed, though each connection of TLS 1.3 makes the session new: so a ticket
 * says when its session's first handshake was, and resuming ends a day later (RFC 8446 4.6.1 recommends a limit).
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "shm/tickets.h"
#include "worker/base/clock.h"
#include "worker/tls/server_parts.h"

#define IV 16                   /* bytes, of AES-CBC */
#define FIRST_S (24 * 3600)     /* since the handshake that was signed */
#define SLACK_S 60              /* by which another worker's clock, or one that was set, may be ahead */

static bool
begin(struct ticket_key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, sealing) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/*
 * What it returns is OpenSSL's language: -1 an error, 0 no key, 1 good, 2 good, but seal it anew: with TLS 1.3 always,
 * since a client uses each ticket once (RFC 8446 C.4) and has to bring home another for the next time.
 */
static int
seal(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    struct ticket_key key;
    bool old = false;
    int result = 1;

    if (tls_shared.tickets == NULL || !(sealing ? tickets_newest(tls_shared.tickets, &key)
                                                : tickets_find(tls_shared.tickets, name, &key, &old)))
        return 0;
    if (sealing) {
        memcpy(name, key.name, sizeof(key.name));
        if (RAND_bytes(iv, IV) != 1)
            result = -1;
    }
    if (result == 1 && !begin(&key, iv, cipher, mac, sealing))
        result = -1;
    OPENSSL_cleanse(&key, sizeof(key));
    return result == 1 && !sealing && (old || SSL_version(ssl) >= TLS1_3_VERSION) ? 2 : result;
}

/* A client with a certificate is known by it for as long as that is good. */
static bool
is_outlived(const SSL_SESSION *session)
{
    const X509 *x = SSL_SESSION_get0_peer((SSL_SESSION *)session);

    return x != NULL && X509_cmp_current_time(X509_get0_notAfter(x)) <= 0;
}

/* Into each ticket, from the first one that was resumed on to the next. */
static int
date(SSL *ssl, void *with)
{
    SSL_SESSION *session = SSL_get_session(ssl);
    int64_t now_s = clock_wall_ms() / 1000;
    void *first_s;
    size_t n;

    (void)with;
    if (SSL_SESSION_get0_ticket_appdata(session, &first_s, &n) == 1 && n == sizeof(now_s))
        return 1;
    return SSL_SESSION_set1_ticket_appdata(session, &now_s, sizeof(now_s));
}

static bool
is_old(SSL_SESSION *session)
{
    int64_t now_s = clock_wall_ms() / 1000, first_s;
    void *data;
    size_t n;

    if (SSL_SESSION_get0_ticket_appdata(session, &data, &n) != 1 || n != sizeof(first_s))
        return true;
    memcpy(&first_s, data, sizeof(first_s));
    return now_s - first_s > FIRST_S || first_s - now_s > SLACK_S;
}

static SSL_TICKET_RETURN
judge(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t n, SSL_TICKET_STATUS status, void *with)
{
    bool opened = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;

    (void)ssl;
    (void)name;
    (void)n;
    (void)with;
    if (!opened || is_old(session) || is_outlived(session))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

void
tls_server_ticket_use(SSL_CTX *ctx)
{
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, seal);
    SSL_CTX_set_session_ticket_cb(ctx, date, judge, NULL);
}
