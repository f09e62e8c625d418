/*
 * An OCSP response against the certificate it is to be stapled to. Knows that a signature counts only where the issuer
 * made it, or a responder that the issuer gave a certificate for nothing else (RFC 6960 4.2.2.2).
 */
#include "worker/tls/response.h"

#include <stdbool.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>

#define SKEW_S 300              /* clocks differ */
#define DAY_S 86400

const char response_revoked[] = "the certificate is revoked";

/* Of a good time; 0 for none. */
static int64_t
seconds(const ASN1_GENERALIZEDTIME *t)
{
    struct tm tm;

    if (t == NULL || !ASN1_TIME_to_tm(t, &tm))
        return 0;
    return (int64_t)timegm(&tm);
}

/* The same certificate, whatever digest the responder names it by. */
static bool
is_about(const OCSP_CERTID *id, X509 *leaf, X509 *issuer)
{
    ASN1_OBJECT *algorithm;
    const EVP_MD *md;
    OCSP_CERTID *own;
    bool same;

    OCSP_id_get0_info(NULL, &algorithm, NULL, NULL, (OCSP_CERTID *)id);
    md = EVP_get_digestbyobj(algorithm);
    own = md != NULL ? OCSP_cert_to_id(md, leaf, issuer) : NULL;
    same = own != NULL && OCSP_id_cmp(own, id) == 0;
    OCSP_CERTID_free(own);
    return same;
}

static OCSP_SINGLERESP *
find(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer)
{
    for (int i = 0; i < OCSP_resp_count(basic); i++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, i);

        if (is_about(OCSP_SINGLERESP_get0_id(single), leaf, issuer))
            return single;
    }
    return NULL;
}

/* The issuer is whom we trust here, whether it signed itself or not. */
static bool
is_signed(OCSP_BASICRESP *basic, X509 *issuer)
{
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *others = sk_X509_new_null();
    bool good;

    X509_STORE_add_cert(store, issuer);
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    sk_X509_push(others, issuer);
    good = OCSP_basic_verify(basic, others, store, 0) == 1;
    sk_X509_free(others);
    X509_STORE_free(store);
    return good;
}

/*
 * Whose key has signed `leaf`, among the certificates that the responder sent along: no matter where it comes from, the
 * signature shows it. For files of certificates that end before the root.
 */
static X509 *
find_issuer(OCSP_BASICRESP *basic, X509 *leaf)
{
    const STACK_OF(X509) *sent = OCSP_resp_get0_certs(basic);

    for (int i = 0; i < sk_X509_num(sent); i++) {
        X509 *x = sk_X509_value(sent, i);

        if (X509_check_issued(x, leaf) == X509_V_OK && X509_verify(leaf, X509_get0_pubkey(x)) == 1)
            return x;
    }
    return NULL;
}

static int64_t
judge(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer, int64_t now_s, int64_t *this_s, const char **why)
{
    OCSP_SINGLERESP *single = NULL;
    ASN1_GENERALIZEDTIME *from, *to;
    int64_t known, until;
    int status;

    if (issuer == NULL && (issuer = find_issuer(basic, leaf)) == NULL) {
        *why = "who issued the certificate is not in its file";
        return 0;
    }
    if ((single = find(basic, leaf, issuer)) == NULL) {
        *why = "it is not about this certificate";
        return 0;
    }
    status = OCSP_single_get0_status(single, NULL, NULL, &from, &to);
    known = seconds(from);
    until = to != NULL ? seconds(to) : known + DAY_S;
    if (!is_signed(basic, issuer))
        *why = "its signature is not the issuer's";
    else if (status != V_OCSP_CERTSTATUS_GOOD)
        *why = status == V_OCSP_CERTSTATUS_REVOKED ? response_revoked : "the certificate is unknown there";
    else if (known == 0 || known > now_s + SKEW_S)
        *why = "it is not good yet";
    else if (until <= now_s)
        *why = "it has expired";
    else {
        if (this_s != NULL)
            *this_s = known;
        return until;
    }
    return 0;
}

int64_t
response_until(const void *der, size_t n, X509 *leaf, X509 *issuer, int64_t now_s, int64_t *this_s, const char **why)
{
    const unsigned char *p = der;
    OCSP_RESPONSE *response = NULL;
    OCSP_BASICRESP *basic = NULL;
    int64_t until = 0;

    if (n > RESPONSE_MOST)
        *why = "it is too long";
    else if ((response = d2i_OCSP_RESPONSE(NULL, &p, (long)n)) == NULL || p != (const unsigned char *)der + n)
        *why = "it is no OCSP response";
    else if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        *why = OCSP_response_status_str(OCSP_response_status(response));
    else if ((basic = OCSP_response_get1_basic(response)) == NULL)
        *why = "it is of a kind that nobody uses";
    else
        until = judge(basic, leaf, issuer, now_s, this_s, why);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    return until;
}
