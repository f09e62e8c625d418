/*
 * What comes from an OCSP responder, and where it is. The first byte of an input chooses: 0: an answer over HTTP, read
 * from one piece and in pieces, which must come to the same; 1: a response as DER, of which none is good, as nobody
 * here can sign; 2: a URL. The second byte is a seed for the sizes of pieces.
 */
#include <stdint.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "t/fuzz/must.h"
#include "worker/base/scan.h"
#include "worker/tls/ocsp_fetch.h"
#include "worker/tls/response.h"

#define NOW INT64_C(1795000000)

struct reading {
    struct arena *arena;
    struct ocsp_answer *answer;
    enum ocsp_read got;
};

static X509 *
make(X509 *issuer, EVP_PKEY *key, long serial)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    const unsigned char *text = (const unsigned char *)(issuer == NULL ? "issuer" : "leaf");

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_time_adj_ex(X509_getm_notBefore(x), -1, 0, NULL);
    X509_time_adj_ex(X509_getm_notAfter(x), 1, 0, NULL);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0);
    X509_set_issuer_name(x, issuer != NULL ? X509_get_subject_name(issuer) : name);
    X509_set_pubkey(x, key);
    MUST(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static void
judge(const uint8_t *der, size_t n)
{
    static X509 *issuer, *leaf;
    const char *why = NULL;
    int64_t made;

    if (issuer == NULL) {
        EVP_PKEY *key = EVP_EC_gen("P-256");

        issuer = make(NULL, key, 1);
        leaf = make(issuer, key, 2);
        EVP_PKEY_free(key);
    }
    MUST(response_until(der, n, leaf, issuer, NOW, &made, &why) == 0);
    MUST(why != NULL && why != response_revoked);
}

/* As much at once as there is room for; or in pieces, as a network might. */
static struct reading
read_answer(const uint8_t *data, size_t n, uint32_t seed, bool pieces)
{
    struct reading r = {.arena = arena_new(), .got = OCSP_READ_MORE};

    r.answer = malloc(sizeof(*r.answer));
    ocsp_answer_init(r.answer, r.arena);
    while (r.got == OCSP_READ_MORE && n > 0) {
        size_t room, size = n;
        char *to = ocsp_answer_room(r.answer, &room);

        MUST(room > 0);
        seed = seed * 1664525 + 1013904223;
        if (pieces)
            size = (seed >> 26) + 1;
        size = size < n ? size : n;
        size = size < room ? size : room;
        memcpy(to, data, size);
        data += size;
        n -= size;
        r.got = ocsp_answer_took(r.answer, size);
    }
    if (r.got == OCSP_READ_MORE)
        r.got = ocsp_answer_end(r.answer);
    MUST(r.got != OCSP_READ_MORE && r.answer->n <= sizeof(r.answer->der));
    MUST((r.got == OCSP_READ_BAD) == (r.answer->why != NULL));
    MUST(r.got == OCSP_READ_BAD || r.answer->n > 0);
    return r;
}

static void
end(struct reading *r)
{
    arena_free(r->arena);
    free(r->answer);
}

static void
read_both_ways(const uint8_t *data, size_t n, uint32_t seed)
{
    struct reading whole = read_answer(data, n, seed, false), pieces = read_answer(data, n, seed, true);

    MUST(whole.got == pieces.got);
    if (whole.got == OCSP_READ_DONE) {
        MUST(whole.answer->n == pieces.answer->n);
        MUST(memcmp(whole.answer->der, pieces.answer->der, whole.answer->n) == 0);
        judge(whole.answer->der, whole.answer->n);
    }
    end(&whole);
    end(&pieces);
}

static bool
is_visible(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
            return false;
    return s.n > 0;
}

static void
read_url(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new();
    struct ocsp_url u;

    if (ocsp_url_parse(&u, arena_copy(a, (struct str){(const char *)data, n}), a)) {
        MUST(is_visible(u.target) && u.target.p[0] == '/' && is_visible(u.authority) && u.port != 0);
        MUST((u.ip.family == 0) == (u.name != NULL));
    }
    arena_free(a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    scan_init(SCAN_AVX2);
    switch (data[0] % 3) {
    case 0:
        read_both_ways(data + 2, n - 2, data[1]);
        break;
    case 1:
        judge(data + 2, n - 2);
        break;
    default:
        read_url(data + 2, n - 2);
    }
    return 0;
}
