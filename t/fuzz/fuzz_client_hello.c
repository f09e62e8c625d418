/*
 * What a client sends before anything is known of it. The first byte says how the rest is meant: as the bytes of a
 * connection, as the body of one ClientHello, or as the server_name (its length in the next byte) and ALPN of one that
 * is good otherwise. A name that is malformed ends the handshake; one that is not is what the session has.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "shm/tickets.h"
#include "t/fuzz/must.h"
#include "worker/tls/facts.h"
#include "worker/tls/hello.h"
#include "worker/tls/server.h"

#define HELLO_MOST 2048

struct hello {
    uint8_t p[HELLO_MOST];
    size_t n;
};

static struct listener_tls conf;

static void
fail(void *with, const struct tls_trouble *t)
{
    (void)with;
    MUST(!t->fatal);
}

static struct tls_pem
drain(BIO *bio)
{
    char *p, *copy;
    long n = BIO_get_mem_data(bio, &p);

    copy = malloc((size_t)n);
    memcpy(copy, p, (size_t)n);
    BIO_free(bio);
    return (struct tls_pem){copy, (size_t)n};
}

static void
make_pair(struct tls_pem *cert, struct tls_pem *key_pem)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:a.example,DNS:*.example");
    BIO *bio = BIO_new(BIO_s_mem());

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -86400);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_add_ext(x, names, -1);
    X509_sign(x, key, EVP_sha256());
    PEM_write_bio_X509(bio, x);
    *cert = drain(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    *key_pem = drain(bio);
    X509_EXTENSION_free(names);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void
begin(void)
{
    static struct certificate certificate;
    static struct str alpn[] = {STR("h2"), STR("http/1.1")};
    struct tls_server_files files = {.v = calloc(1, sizeof(*files.v))};
    struct tickets *tickets = tickets_create();
    struct ticket_key key;

    conf = (struct listener_tls){.on = true, .certificates = &certificate, .certificate_count = 1, .alpn = {alpn, 2}};
    make_pair(&files.v->cert, &files.v->key);
    conf.server = tls_server_new(&conf, &files, arena_new(), fail, NULL);
    MUST(conf.server != NULL);
    memset(&key, 7, sizeof(key));
    tickets_rotate(tickets, &key, 1);
    tls_server_share(tickets, NULL);
    free((char *)files.v->cert.p);
    free((char *)files.v->key.p);
    free(files.v);
}

static void
put(struct hello *h, const void *p, size_t n)
{
    MUST(h->n + n <= sizeof(h->p));
    if (n > 0)
        memcpy(h->p + h->n, p, n);
    h->n += n;
}

static void
put_two(struct hello *h, size_t value)
{
    uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};

    put(h, bytes, 2);
}

static void
put_extension(struct hello *h, unsigned type, const void *p, size_t n)
{
    put_two(h, type);
    put_two(h, n);
    put(h, p, n);
}

/* One that both versions take, with these extensions first. */
static void
put_good(struct hello *h, const uint8_t *name, size_t name_n, const uint8_t *alpn, size_t alpn_n)
{
    static const uint8_t versions[] = {4, 3, 4, 3, 3}, groups[] = {0, 2, 0, 0x1d}, modes[] = {1, 1};
    static const uint8_t signatures[] = {0, 4, 4, 3, 8, 4}, ciphers[] = {0, 4, 0x13, 1, 0xc0, 0x2b, 1, 0};
    uint8_t zero[33] = {0}, share[38] = {0, 36, 0, 0x1d, 0, 32, 9};
    struct hello extensions = {.n = 0};

    if (name_n > 0)
        put_extension(&extensions, TLSEXT_TYPE_server_name, name, name_n);
    if (alpn_n > 0)
        put_extension(&extensions, TLSEXT_TYPE_application_layer_protocol_negotiation, alpn, alpn_n);
    put_extension(&extensions, TLSEXT_TYPE_supported_versions, versions, sizeof(versions));
    put_extension(&extensions, TLSEXT_TYPE_supported_groups, groups, sizeof(groups));
    put_extension(&extensions, TLSEXT_TYPE_signature_algorithms, signatures, sizeof(signatures));
    put_extension(&extensions, TLSEXT_TYPE_psk_kex_modes, modes, sizeof(modes));
    put_extension(&extensions, TLSEXT_TYPE_key_share, share, sizeof(share));
    put_two(h, 0x0303);
    put(h, zero, 33);           /* random, and no session */
    put(h, ciphers, sizeof(ciphers));
    put_two(h, extensions.n);
    put(h, extensions.p, extensions.n);
}

static void
wrap(struct hello *to, const uint8_t *body, size_t n)
{
    static const uint8_t record[] = {22, 3, 1}, handshake[] = {1, 0};

    put(to, record, sizeof(record));
    put_two(to, n + 4);
    put(to, handshake, sizeof(handshake));
    put_two(to, n);
    put(to, body, n);
}

/* What the server answers to these bytes: the type of its first record; 0: nothing. The session, to be looked at. */
static unsigned
answer(SSL *ssl, const uint8_t *data, size_t n)
{
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    unsigned char *p;
    unsigned type;

    BIO_set_mem_eof_return(in, -1);
    if (n > 0)
        BIO_write(in, data, (int)n);
    SSL_set_bio(ssl, in, out);
    MUST(SSL_do_handshake(ssl) != 1);
    type = BIO_get_mem_data(out, &p) > 0 ? p[0] : 0;
    ERR_clear_error();
    return type;
}

static void
look(SSL *ssl, bool named, bool good, struct str name, unsigned type, bool spoken)
{
    struct tls_facts f = {0};

    if (named && !good) {
        MUST(type == 21);
        return;
    }
    MUST(type == (spoken ? 22 : type));
    if (type == 22 && named) {
        tls_server_facts(&conf, ssl, &f);
        MUST(str_eq(f.sni, name));
        tls_facts_free(&f);
    }
}

static void
try_extensions(const uint8_t *data, size_t n)
{
    char text[HELLO_NAME_MOST];
    size_t name_n = n > 0 ? data[0] : 0, length = 0, alpn_n;
    struct hello body = {.n = 0}, record = {.n = 0};
    SSL *ssl = tls_server_open(&conf);
    const uint8_t *name;
    bool good;

    data += n > 0;
    n -= n > 0;
    name_n = name_n < n ? name_n : n;
    alpn_n = n - name_n < 512 ? n - name_n : 512;
    name = data;
    good = hello_name(name, name_n, text, &length);
    MUST(!good || (length > 0 && length <= HELLO_NAME_MOST && memchr(text, '\0', length) == NULL));
    put_good(&body, name, name_n, data + name_n, alpn_n);
    wrap(&record, body.p, body.n);
    look(ssl, name_n > 0, good, (struct str){text, length}, answer(ssl, record.p, record.n), alpn_n == 0);
    SSL_free(ssl);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct hello record = {.n = 0};
    char text[HELLO_NAME_MOST];
    size_t length;
    SSL *ssl;

    if (conf.server == NULL)
        begin();
    if (n == 0)
        return 0;
    hello_name(data + 1, n - 1, text, &length);
    if (data[0] % 3 == 0) {
        try_extensions(data + 1, n - 1);
        return 0;
    }
    ssl = tls_server_open(&conf);
    if (data[0] % 3 == 1 && n - 1 <= HELLO_MOST / 2)
        wrap(&record, data + 1, n - 1);
    else
        put(&record, data + 1, n - 1 < HELLO_MOST ? n - 1 : HELLO_MOST);
    answer(ssl, record.p, record.n);
    SSL_free(ssl);
    return 0;
}
