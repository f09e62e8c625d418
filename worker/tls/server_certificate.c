/*
 * A certificate and its key, from the bytes of their files. Knows what makes a pair that OpenSSL would take useless to
 * clients, and that a file holds the server's own certificate first, then whoever signed the one before.
 */
#include <ctype.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "worker/tls/pem.h"
#include "worker/tls/response.h"
#include "worker/tls/server_parts.h"

#define RSA_LEAST 2048          /* bits; security level 2 takes no fewer */
#define CHAIN_MOST 16           /* certificates of a file */

static bool
has_block(const struct tls_pem *file, const char *label)
{
    return memmem(file->p, file->n, label, strlen(label)) != NULL;
}

/* The file is not what was looked for: what it is, as far as a look tells, for whoever took the wrong one. */
static const char *
what_else(const struct tls_pem *file, const char *from_der)
{
    if (has_block(file, "PRIVATE KEY-----"))
        return ", but a private key";
    if (has_block(file, "CERTIFICATE REQUEST-----"))
        return ", but a request for a certificate: one is what the issuer makes of it";
    if (has_block(file, "CERTIFICATE-----"))
        return ", but a certificate";
    return file->n > 0 && file->p[0] == 0x30 ? from_der : "";
}

static EVP_PKEY *
read_key(struct tls_server *s, int i, const struct tls_pem *file)
{
    BIO *bio = pem_open(file);
    bool asked = false;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, pem_no_passphrase, &asked);

    BIO_free(bio);
    if (key == NULL && asked)
        tls_server_fail(s, i, "key", "it is encrypted, and there is nobody to ask for the passphrase: store it in the "
                        "clear, readable by root alone");
    else if (key == NULL && !has_block(file, "PRIVATE KEY-----"))
        tls_server_fail(s, i, "key", "there is no private key in PEM%s",
                        what_else(file, "; it may be DER, of which `openssl pkey -inform DER` makes PEM"));
    else if (key == NULL)
        tls_server_fail(s, i, "key", "there is no private key that can be read: %s", tls_server_reason());
    ERR_clear_error();
    return key;
}

static void
read_chain(struct tls_server *s, int i, const struct tls_pem *file, struct tls_held *h)
{
    BIO *bio = pem_open(file);
    X509 *x;

    h->chain = sk_X509_new_null();
    while (sk_X509_num(h->chain) < CHAIN_MOST && (x = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL)) != NULL) {
        if (h->shown.leaf == NULL)
            h->shown.leaf = x;
        else
            sk_X509_push(h->chain, x);
    }
    if (sk_X509_num(h->chain) == CHAIN_MOST)
        tls_server_fail(s, i, "cert", "more than %d certificates are no chain", CHAIN_MOST);
    else if (!pem_is_end())
        tls_server_fail(s, i, "cert", "certificate %d cannot be read: %s",
                        (h->shown.leaf != NULL) + sk_X509_num(h->chain) + 1, tls_server_reason());
    else if (h->shown.leaf == NULL)
        tls_server_fail(s, i, "cert", "there is no certificate in PEM%s",
                        what_else(file, "; it may be DER, of which `openssl x509 -inform DER` makes PEM"));
    ERR_clear_error();
    BIO_free(bio);
}

/* Whether it says where its issuer's certificate is to be had, as those do that no root has signed. */
static bool
names_issuer(const X509 *x)
{
    AUTHORITY_INFO_ACCESS *info = X509_get_ext_d2i(x, NID_info_access, NULL, NULL);
    bool names = false;

    for (int i = 0; info != NULL && i < sk_ACCESS_DESCRIPTION_num(info); i++)
        names |= OBJ_obj2nid(sk_ACCESS_DESCRIPTION_value(info, i)->method) == NID_ad_ca_issuers;
    AUTHORITY_INFO_ACCESS_free(info);
    return names;
}

/* Each has to be signed by the next one, or clients that sort nothing lose the thread. */
static void
check_chain(struct tls_server *s, int i, struct tls_held *h)
{
    X509 *below = h->shown.leaf;

    if (sk_X509_num(h->chain) == 0 && names_issuer(below))
        tls_server_warn(s, i, "cert", "the certificate that issued it is missing behind it: many clients refuse it "
                        "(certbot's fullchain.pem has both)");
    for (int at = 0; at < sk_X509_num(h->chain); at++) {
        X509 *x = sk_X509_value(h->chain, at);

        if (X509_check_issued(x, below) != X509_V_OK) {
            tls_server_warn(s, i, "cert", "certificate %d of the file did not sign the one before it", at + 2);
            break;
        }
        if (at == 0)
            h->shown.issuer = x;
        below = x;
    }
    ERR_clear_error();
}

static int
kind_of(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA: return KIND_RSA;
    case EVP_PKEY_RSA_PSS: return KIND_RSA_PSS;
    case EVP_PKEY_EC: return KIND_ECDSA;
    case EVP_PKEY_ED25519: return KIND_ED25519;
    case EVP_PKEY_ED448: return KIND_ED448;
    default: return -1;
    }
}

/* Which certificate of the file the key belongs to, if not the first: the usual slip. */
static void
tell_mismatch(struct tls_server *s, int i, const struct tls_held *h)
{
    int at = 0;

    while (at < sk_X509_num(h->chain) && !X509_check_private_key(sk_X509_value(h->chain, at), h->key))
        at++;
    ERR_clear_error();
    if (at < sk_X509_num(h->chain))
        tls_server_fail(s, i, "cert", "the key belongs to certificate %d of the file: the server's own has to come "
                        "first", at + 2);
    else
        tls_server_fail(s, i, "key", "it is not the key of this certificate");
}

/* What OpenSSL at this security level would refuse at last. */
static bool
check_pair(struct tls_server *s, int i, struct tls_held *h)
{
    h->kind = kind_of(h->key);
    if (h->kind < 0)
        tls_server_fail(s, i, "key", "it is neither RSA nor ECDSA nor EdDSA");
    else if (h->kind <= KIND_RSA_PSS && EVP_PKEY_get_bits(h->key) < RSA_LEAST)
        tls_server_fail(s, i, "key", "an RSA key of %d bits is too short: at least %d", EVP_PKEY_get_bits(h->key),
                        RSA_LEAST);
    else if (!X509_check_private_key(h->shown.leaf, h->key))
        tell_mismatch(s, i, h);
    if (s->failed)
        return false;
    if (SSL_CTX_use_cert_and_key(s->trial, h->shown.leaf, h->key, h->chain, 1) == 1)
        return true;
    tls_server_fail(s, i, "cert", "OpenSSL does not take it: %s", tls_server_reason());
    return false;
}

static void
day_of(const ASN1_TIME *t, char *to, size_t n)
{
    struct tm tm;

    if (!ASN1_TIME_to_tm(t, &tm) || strftime(to, n, "%Y-%m-%d", &tm) == 0)
        to[0] = '\0';
}

static void
check_time(struct tls_server *s, int i, const X509 *x)
{
    const ASN1_TIME *from = X509_get0_notBefore(x), *until = X509_get0_notAfter(x);
    char day[32];

    if (X509_cmp_current_time(until) < 0) {
        day_of(until, day, sizeof(day));
        tls_server_warn(s, i, "cert", "it has expired: it was good until %s", day);
    } else if (X509_cmp_current_time(from) > 0) {
        day_of(from, day, sizeof(day));
        tls_server_warn(s, i, "cert", "it is not good before %s", day);
    }
}

/* What a ClientHello could ask for, in lower case; "*" stands for one whole label at the beginning alone. */
static bool
read_name(struct arena *a, const ASN1_STRING *text, struct str *name)
{
    struct str raw = {(const char *)ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text)};
    char *p = arena_cstr(a, raw);

    for (size_t i = 0; i < raw.n; i++) {
        p[i] = (char)tolower((unsigned char)p[i]);
        if (!isalnum((unsigned char)p[i]) && strchr("-._", p[i]) == NULL && !(p[i] == '*' && i == 0 && raw.n > 2))
            return false;
    }
    *name = (struct str){p, raw.n};
    return raw.n > 0 && (p[0] != '*' || p[1] == '.');
}

static void
read_names(struct tls_server *s, int i, struct tls_held *h)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(h->shown.leaf, NID_subject_alt_name, NULL, NULL);
    int n = names != NULL ? sk_GENERAL_NAME_num(names) : 0;
    bool address = false;

    h->names.v = arena_alloc(s->arena, ((size_t)n + 1) * sizeof(*h->names.v));
    for (int at = 0; at < n; at++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, at);

        if (name->type == GEN_DNS && read_name(s->arena, name->d.dNSName, &h->names.v[h->names.n]))
            h->names.n++;
        address |= name->type == GEN_IPADD;
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    if (h->names.n == 0 && !address)
        tls_server_warn(s, i, "cert", "it names no host (subjectAltName): clients refuse it");
}

/* A response that nobody would take is worse than none. */
static void
read_response(struct tls_server *s, int i, const struct tls_pem *file, struct tls_held *h)
{
    const char *why = "";

    h->shown.file = s->conf->certificates[i].ocsp.p != NULL;
    if (file->p == NULL)
        return;
    h->response_until = response_until(file->p, file->n, h->shown.leaf, h->shown.issuer, time(NULL), NULL, &why);
    if (h->response_until == 0) {
        tls_server_warn(s, i, "ocsp", "the response is not stapled: %s", why);
        return;
    }
    h->response = arena_alloc(s->arena, file->n);
    memcpy(h->response, file->p, file->n);
    h->response_size = file->n;
}

void
tls_server_certificate_read(struct tls_server *s, size_t i, const struct tls_pem *cert, const struct tls_pem *key,
                            const struct tls_pem *ocsp)
{
    struct tls_held *h = &s->held[i];
    bool failed = s->failed;

    h->shown.line = s->conf->certificates[i].line;
    if (cert->p == NULL || key->p == NULL) {
        s->failed = true;
        return;
    }
    s->failed = false;          /* of this one */
    read_chain(s, (int)i, cert, h);
    h->key = read_key(s, (int)i, key);
    if (h->shown.leaf != NULL)
        X509_digest(h->shown.leaf, EVP_sha256(), h->shown.digest, NULL);
    if (!s->failed && check_pair(s, (int)i, h)) {
        check_chain(s, (int)i, h);
        check_time(s, (int)i, h->shown.leaf);
        read_names(s, (int)i, h);
        read_response(s, (int)i, ocsp, h);
    }
    s->failed |= failed;
}
