/*
 * Ciphers and groups towards clients. Knows that TLS 1.2 has many suites without forward secrecy or with a MAC that
 * was put in the wrong place, and takes none of those, whatever is written; and that OpenSSL has two lists for two
 * versions, and leaves out of the first, in silence, what it does not know.
 */
#include <string.h>

#include <openssl/err.h>

#include "worker/tls/server_parts.h"

/* With equal strength ECDSA, whose signatures cost less, goes first; ChaCha20 does where the client has it first. */
static const char ciphers_default[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

static const char groups[] = "X25519:P-256:P-384";

/* A word of OpenSSL's language that adds nothing but takes away or sorts: what it names need not be there. */
static bool
is_operator(struct str word)
{
    return word.p[0] == '!' || word.p[0] == '-' || word.p[0] == '+' || str_eq(word, STR("@STRENGTH"));
}

static bool
is_known(struct str word, SSL_CTX *ctx, bool suite)
{
    char text[128];

    if (word.n >= sizeof(text))
        return false;
    memcpy(text, word.p, word.n);
    text[word.n] = '\0';
    if (!suite)
        return SSL_CTX_set_cipher_list(ctx, text) == 1;
    return SSL_CTX_set_ciphersuites(ctx, text) == 1 && sk_SSL_CIPHER_num(SSL_CTX_get_ciphers(ctx)) > 0 &&
           strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(ctx), 0)), text) == 0;
}

/* There is room for all that is written. */
static void
append(char *list, struct str word)
{
    size_t n = strlen(list);

    if (n > 0)
        list[n++] = ':';
    memcpy(list + n, word.p, word.n);
    list[n + word.n] = '\0';
}

/* Words that begin with TLS_ are suites of TLS 1.3, in a list of their own. */
static void
sort(struct tls_server *s, SSL_CTX *ctx, struct str text)
{
    while (text.n > 0) {
        size_t n = 0;
        struct str word;
        bool suite;

        while (n < text.n && strchr(":, ", text.p[n]) == NULL)
            n++;
        word = (struct str){text.p, n};
        text = (struct str){text.p + n, text.n - n};
        if (n == 0) {
            text = (struct str){text.p + 1, text.n - 1};
            continue;
        }
        suite = str_starts(word, STR("TLS_"));
        if (!is_operator(word) && !is_known(word, ctx, suite))
            tls_server_fail(s, -1, "ciphers", "OpenSSL knows no `%.*s`", n > 80 ? 80 : (int)n, word.p);
        append(suite ? s->suites : s->ciphers, word);
    }
}

/* Forward-secret, and encryption that authenticates. */
static bool
is_good(const SSL_CIPHER *c)
{
    if (strcmp(SSL_CIPHER_get_version(c), "TLSv1.3") == 0)
        return true;
    return SSL_CIPHER_is_aead(c) && SSL_CIPHER_get_kx_nid(c) == NID_kx_ecdhe &&
           (SSL_CIPHER_get_auth_nid(c) == NID_auth_rsa || SSL_CIPHER_get_auth_nid(c) == NID_auth_ecdsa);
}

static void
check_list(struct tls_server *s, SSL_CTX *ctx)
{
    const STACK_OF(SSL_CIPHER) *list = SSL_CTX_get_ciphers(ctx);
    int old = 0;

    for (int i = 0; i < sk_SSL_CIPHER_num(list); i++) {
        const SSL_CIPHER *c = sk_SSL_CIPHER_value(list, i);

        if (!is_good(c)) {
            tls_server_fail(s, -1, "ciphers", "%s is not taken: for TLS 1.2 only ECDHE with an AEAD is, as %s",
                            SSL_CIPHER_get_name(c), "ECDHE-RSA-AES128-GCM-SHA256");
            return;
        }
        old += strcmp(SSL_CIPHER_get_version(c), "TLSv1.3") != 0;
    }
    if (old == 0 && s->ciphers[0] != '\0')
        tls_server_fail(s, -1, "ciphers", "nothing is left of it");
}

/* With TLS 1.2 the cipher has to be one for the kind of key; with 1.3 any will do. */
static void
check_kinds(struct tls_server *s, SSL_CTX *ctx)
{
    const STACK_OF(SSL_CIPHER) *list = SSL_CTX_get_ciphers(ctx);
    bool rsa = false, other = false;

    for (int i = 0; i < sk_SSL_CIPHER_num(list); i++) {
        rsa |= SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(list, i)) == NID_auth_rsa;
        other |= SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(list, i)) == NID_auth_ecdsa;
    }
    for (size_t i = 0; s->conf->min_version != TLS_1_3 && i < s->held_count; i++)
        if (!(s->held[i].kind <= KIND_RSA_PSS ? rsa : other))
            tls_server_warn(s, (int)i, "cert", "with TLS 1.2 no client gets it: `ciphers` has none for its kind "
                            "of key");
}

void
tls_server_ciphers_read(struct tls_server *s)
{
    struct str text = s->conf->ciphers;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    bool failed = s->failed;

    s->failed = false;
    s->ciphers = arena_zalloc(s->arena, text.n + 1);
    s->suites = arena_zalloc(s->arena, text.n + 1);
    sort(s, ctx, text);
    if (!s->failed && s->ciphers[0] != '\0') {
        if (SSL_CTX_set_cipher_list(ctx, s->ciphers) != 1)
            tls_server_fail(s, -1, "ciphers", "nothing is left of it");
        else
            check_list(s, ctx);
        if (!s->failed && !failed)
            check_kinds(s, ctx);
    }
    ERR_clear_error();
    SSL_CTX_free(ctx);
    s->failed |= failed;
}

bool
tls_server_ciphers_use(const struct tls_server *s, SSL_CTX *ctx)
{
    SSL_CTX_set_security_level(ctx, TLS_SECURITY_LEVEL);
    return SSL_CTX_set_cipher_list(ctx, s->ciphers[0] != '\0' ? s->ciphers : ciphers_default) == 1 &&
           (s->suites[0] == '\0' || SSL_CTX_set_ciphersuites(ctx, s->suites) == 1) &&
           SSL_CTX_set1_groups_list(ctx, groups) == 1;
}
