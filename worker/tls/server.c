/*
 * A listener's TLS: its contexts, and which of them a ClientHello gets. Knows that OpenSSL looks for a session before
 * it tells anybody the name, so that the choice is made earlier, in the hello's callback; and that what a connection
 * may resume is what this one could have become itself: with these certificates, these rules, this name.
 *
 * All contexts of a listener have the same rules. OpenSSL takes most of them from the one that the session was made
 * with, some from the one that was chosen.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#include "shm/tickets.h"
#include "worker/base/log.h"
#include "worker/tls/hello.h"
#include "worker/tls/server_parts.h"

/*
 * After a full handshake of TLS 1.3. A client uses each once (RFC 8446 C.4), and brings home another: with two it can
 * open a second connection at once. After a handshake that resumed OpenSSL sends one (server_ticket.c).
 */
#define TICKETS 2
#define SESSION_S (2 * 3600)    /* how long a ticket is good: the keys outlive it */

struct tls_shared tls_shared;

static void
tell(struct tls_server *s, bool fatal, int certificate, const char *what, const char *fmt, va_list ap)
{
    struct tls_trouble t = {.certificate = certificate, .what = what, .fatal = fatal};

    vsnprintf(t.text, sizeof(t.text), fmt, ap);
    s->failed |= fatal;
    s->tell(s->with, &t);
}

void
tls_server_fail(struct tls_server *s, int certificate, const char *what, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    tell(s, true, certificate, what, fmt, ap);
    va_end(ap);
}

void
tls_server_warn(struct tls_server *s, int certificate, const char *what, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    tell(s, false, certificate, what, fmt, ap);
    va_end(ap);
}

const char *
tls_server_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    ERR_clear_error();
    return reason != NULL ? reason : "no reason given";
}

/* Parts whose lengths are told apart, into one digest. */
struct sum {
    EVP_MD_CTX *ctx;
};

static struct sum
sum_begin(void)
{
    struct sum sum = {EVP_MD_CTX_new()};

    check(sum.ctx != NULL && EVP_DigestInit_ex(sum.ctx, EVP_sha256(), NULL) == 1);
    return sum;
}

static void
sum_add(struct sum *sum, const void *p, size_t n)
{
    uint64_t length = n;

    EVP_DigestUpdate(sum->ctx, &length, sizeof(length));
    if (n > 0)
        EVP_DigestUpdate(sum->ctx, p, n);
}

static void
sum_end(struct sum *sum, unsigned char digest[TLS_DIGEST])
{
    EVP_DigestFinal_ex(sum->ctx, digest, NULL);
    EVP_MD_CTX_free(sum->ctx);
}

/* What a client has to fulfil here. */
static void
make_rules(struct tls_server *s, const struct tls_server_files *files)
{
    const struct listener_tls *conf = s->conf;
    struct sum sum = sum_begin();

    sum_add(&sum, &conf->client_verify, sizeof(conf->client_verify));
    sum_add(&sum, files->client_ca.p, files->client_ca.n);
    sum_add(&sum, &conf->min_version, sizeof(conf->min_version));
    sum_add(&sum, s->ciphers, strlen(s->ciphers));
    sum_add(&sum, s->suites, strlen(s->suites));
    sum_end(&sum, s->rules);
}

/*
 * What this connection may resume. Only under the same name, too: RFC 6066 3 has it so, and $sni of a resumed session
 * is the first one's.
 */
static bool
bind_session(SSL *ssl, const struct tls_set *set, struct str name)
{
    unsigned char all[TLS_DIGEST + HELLO_NAME_MOST], digest[TLS_DIGEST];

    memcpy(all, set->digest, TLS_DIGEST);
    if (name.n > 0)
        memcpy(all + TLS_DIGEST, name.p, name.n);
    return EVP_Digest(all, TLS_DIGEST + name.n, digest, NULL, EVP_sha256(), NULL) == 1 &&
           SSL_set_session_id_context(ssl, digest, sizeof(digest)) == 1;
}

/* The client's hello has come, and nothing was decided yet. */
static int
choose(SSL *ssl, int *alert, void *with)
{
    const struct tls_server *s = with;
    const unsigned char *extension;
    char text[HELLO_NAME_MOST];
    struct tls_set *set = s->first;
    struct str name = {text, 0};
    size_t n;

    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &n)) {
        if (!hello_name(extension, n, text, &name.n)) {
            *alert = SSL_AD_DECODE_ERROR;
            return SSL_CLIENT_HELLO_ERROR;
        }
        set = tls_server_names_find(s, name);
    }
    if ((SSL_get_SSL_CTX(ssl) != set->ctx && SSL_set_SSL_CTX(ssl, set->ctx) == NULL) ||
        !bind_session(ssl, set, name)) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* The name was looked at above; said to be known, it becomes part of the session. */
static int
acknowledge(SSL *ssl, int *alert, void *with)
{
    (void)ssl;
    (void)alert;
    (void)with;
    return SSL_TLSEXT_ERR_OK;
}

/* Ours decides. RFC 7301 3.2: where there is no overlap the handshake ends. */
static int
choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *offered, unsigned n,
                void *with)
{
    const struct tls_server *s = with;
    unsigned char *chosen;

    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_n, s->alpn, s->alpn_size, offered, n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void
make_alpn(struct tls_server *s)
{
    for (size_t i = 0; i < s->conf->alpn.n; i++) {
        struct str name = s->conf->alpn.v[i];

        check(name.n > 0 && s->alpn_size + 1 + name.n <= sizeof(s->alpn));
        s->alpn[s->alpn_size++] = (unsigned char)name.n;
        memcpy(s->alpn + s->alpn_size, name.p, name.n);
        s->alpn_size += (unsigned)name.n;
    }
}

/* No 0-RTT (its requests could be replayed), no renegotiation, no compression, no memory of sessions but in tickets. */
static void
set_options(SSL_CTX *ctx, int min_version)
{
    SSL_CTX_set_min_proto_version(ctx, min_version == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ctx, 0);
    SSL_CTX_clear_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION |
                          SSL_OP_LEGACY_SERVER_CONNECT | SSL_OP_NO_TICKET);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                        SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_early_data(ctx, 0);
    SSL_CTX_set_recv_max_early_data(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, TICKETS);
    SSL_CTX_set_timeout(ctx, SESSION_S);
}

static void
set_callbacks(struct tls_server *s, SSL_CTX *ctx)
{
    SSL_CTX_set_client_hello_cb(ctx, choose, s);
    SSL_CTX_set_tlsext_servername_callback(ctx, acknowledge);
    if (s->alpn_size > 0)
        SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, s);
    tls_server_ticket_use(ctx);
    tls_server_staple_use(ctx);
}

static bool
fill(struct tls_server *s, struct tls_set *set, SSL_CTX *ctx)
{
    struct sum sum = sum_begin();
    bool good = tls_server_ciphers_use(s, ctx);

    set_options(ctx, s->conf->min_version);
    set_callbacks(s, ctx);
    tls_server_clients_ask(s, ctx);
    SSL_CTX_set_app_data(ctx, set);
    sum_add(&sum, s->rules, sizeof(s->rules));
    for (int i = 0; i < KINDS; i++) {
        const struct tls_held *h = set->held[i];

        sum_add(&sum, h != NULL ? h->shown.digest : NULL, h != NULL ? sizeof(h->shown.digest) : 0);
        good = good && (h == NULL || SSL_CTX_use_cert_and_key(ctx, h->shown.leaf, h->key, h->chain, 1) == 1);
    }
    sum_end(&sum, set->digest);
    return good && SSL_CTX_set_session_id_context(ctx, set->digest, TLS_DIGEST) == 1;
}

/* Where sets with these certificates are kept: at the first of them. */
static struct tls_held *
leader(struct tls_held *const held[KINDS])
{
    struct tls_held *first = NULL;

    for (int i = 0; i < KINDS; i++)
        if (held[i] != NULL && (first == NULL || held[i] < first))
            first = held[i];
    return first;
}

struct tls_set *
tls_server_set(struct tls_server *s, struct tls_held *const held[KINDS])
{
    struct tls_held *first = leader(held);
    struct tls_set *set = first->sets;

    while (set != NULL && memcmp(set->held, held, sizeof(set->held)) != 0)
        set = set->next;
    if (set != NULL)
        return set;
    set = arena_zalloc(s->arena, sizeof(*set));
    memcpy(set->held, held, sizeof(set->held));
    set->next = first->sets;
    first->sets = set;
    set->ctx = SSL_CTX_new(TLS_server_method());
    if (set->ctx == NULL || !fill(s, set, set->ctx))
        tls_server_fail(s, (int)(first - s->held), "cert", "OpenSSL does not take it: %s", tls_server_reason());
    return set;
}

/* OpenSSL wipes a key that nobody holds any more. */
static void
destroy(void *data)
{
    struct tls_server *s = data;

    for (size_t i = 0; i < s->held_count; i++) {
        struct tls_held *h = &s->held[i];

        for (struct tls_set *set = h->sets; set != NULL; set = set->next)
            SSL_CTX_free(set->ctx);
        EVP_PKEY_free(h->key);
        X509_free(h->shown.leaf);
        sk_X509_pop_free(h->chain, X509_free);
    }
    X509_STORE_free(s->clients);
    sk_X509_NAME_pop_free(s->client_names, X509_NAME_free);
}

struct tls_server *
tls_server_new(const struct listener_tls *conf, const struct tls_server_files *files, struct arena *a,
               void (*told)(void *with, const struct tls_trouble *t), void *with)
{
    struct tls_server *s = arena_zalloc(a, sizeof(*s));

    s->conf = conf;
    s->arena = a;
    s->tell = told;
    s->with = with;
    s->held_count = conf->certificate_count;
    s->held = arena_zalloc(a, (s->held_count + 1) * sizeof(*s->held));
    arena_cleanup(a, destroy, s);
    ERR_clear_error();
    s->trial = SSL_CTX_new(TLS_server_method());
    check(s->trial != NULL);
    SSL_CTX_set_security_level(s->trial, TLS_SECURITY_LEVEL);
    for (size_t i = 0; i < s->held_count; i++)
        tls_server_certificate_read(s, i, &files->v[i].cert, &files->v[i].key, &files->v[i].ocsp);
    SSL_CTX_free(s->trial);
    tls_server_clients_read(s, &files->client_ca);
    tls_server_ciphers_read(s);
    make_alpn(s);
    if (s->failed || s->held_count == 0)
        return NULL;
    make_rules(s, files);
    tls_server_names_make(s);
    return s->failed ? NULL : s;
}

size_t
tls_server_count(const struct tls_server *s)
{
    return s->held_count;
}

const struct tls_certificate *
tls_server_certificate(const struct tls_server *s, size_t i)
{
    return &s->held[i].shown;
}

void
tls_server_share(const struct tickets *tickets, struct staples *staples)
{
    tls_shared = (struct tls_shared){tickets, staples};
}

/* OpenSSL would send tickets of TLS 1.3 that are empty, which are none. */
static void
refuse_tickets(SSL *ssl)
{
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_set_num_tickets(ssl, 0);
}

SSL *
tls_server_open(const struct listener_tls *conf)
{
    struct ticket_key key;
    SSL *ssl = SSL_new(conf->server->first->ctx);

    if (ssl == NULL)
        return NULL;
    SSL_set_accept_state(ssl);
    if (tls_shared.tickets == NULL || !tickets_newest(tls_shared.tickets, &key))
        refuse_tickets(ssl);
    OPENSSL_cleanse(&key, sizeof(key));
    return ssl;
}
