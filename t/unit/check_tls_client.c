/* TLS towards servers: whom a client made of an upstream's `tls` trusts, what it asks for, which sessions it keeps. */
#include "t/unit/certificates.h"

#include "t/unit/unit.h"
#include "worker/tls/client.h"

static struct made root, stranger, app, address, wild, expired, nameless, mine, weak;

static void
begin(void)
{
    root = make((struct wish){"ec", "root", .ca = true});
    stranger = make((struct wish){"ec", "stranger", .ca = true});
    app = make((struct wish){"ec", "app", "DNS:app.internal", .issuer = &root});
    address = make((struct wish){"ec", "address", "IP:10.0.0.1,IP:::1", .issuer = &root});
    wild = make((struct wish){"rsa", "wild", "DNS:*.prod.internal,DNS:a*.part.internal", .issuer = &root});
    expired = make((struct wish){"ec", "expired", "DNS:app.internal", &root, .from = -2 * DAY, .until = -DAY});
    nameless = make((struct wish){"ec", "app.internal", .issuer = &root});
    mine = make((struct wish){"ec", "mine", .issuer = &root});
    weak = make((struct wish){"rsa1024", "weak", "DNS:app.internal", .issuer = &root});
}

static void
end(void)
{
    struct made *all[] = {&root, &stranger, &app, &address, &wild, &expired, &nameless, &mine, &weak};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        unmake(all[i]);
}

/* An upstream with one server, and what was told of it. */
static struct upstream u;
static struct server server;
static struct tls_memory memory;
static struct arena *arena;
static char told[1024];

static void
note_trouble(void *with, const struct tls_trouble *t)
{
    size_t n = strlen(told);

    (void)with;
    ck_assert_int_eq(t->certificate, -1);
    snprintf(told + n, sizeof(told) - n, "%s%s: %s\n", t->fatal ? "" : "warning: ", t->what, t->text);
}

static void
set_up(void)
{
    arena = arena_new();
    memset(&u, 0, sizeof(u));
    memset(&server, 0, sizeof(server));
    u.tls.on = u.tls.verify = true;
    server.upstream = &u;
    server.name = STR("app.internal");
    told[0] = '\0';
}

static void
tear_down(void)
{
    tls_client_forget(&memory);
    arena_free(arena);
}

static bool
trust(const char *ca, const char *cert, const char *key)
{
    struct tls_client_files files = {.ca = pem(ca), .cert = pem(cert), .key = pem(key)};

    u.tls.client = tls_client_new(&u, &files, arena, note_trouble, NULL);
    return u.tls.client != NULL;
}

/* A server with that certificate. */
static SSL_CTX *
serve(const struct made *m, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    ck_assert_int_eq(SSL_CTX_use_certificate(ctx, m->x), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(ctx, m->key), 1);
    return ctx;
}

/* Once the handshake is over, what comes behind it is read. */
static struct pair_of_test
meet(SSL_CTX *ctx)
{
    struct pair_of_test p = {tls_client_open(&server, &memory), SSL_new(ctx), false};
    char byte;

    ck_assert_ptr_nonnull(p.client);
    SSL_set_connect_state(p.client);
    SSL_set_accept_state(p.server);
    join(p.client, p.server);
    ERR_clear_error();
    p.done = shake(p.client, p.server);
    if (p.done)
        ck_assert_int_le(SSL_read(p.client, &byte, 1), 0);
    return p;
}

/* Neither says close_notify, as most servers don't. */
static void
part(struct pair_of_test *p)
{
    SSL_free(p->client);
    SSL_free(p->server);
    ERR_clear_error();
}

/* What came of it: "" or why not. */
static const char *
result(const struct made *m)
{
    static char text[256];
    SSL_CTX *ctx = serve(m, TLS1_3_VERSION);
    struct pair_of_test p = meet(ctx);

    snprintf(text, sizeof(text), "%s", p.done ? "" : tls_client_why(p.client));
    part(&p);
    SSL_CTX_free(ctx);
    return text;
}

static void
is_at(const char *ip)
{
    server.name = STR("");
    ck_assert(ip_parse(&server.address.ip, str_of(ip)));
}

#define HOST "certificate verify failed: hostname mismatch: it is not for "
#define IP "certificate verify failed: IP address mismatch: it is not for "

START_TEST(names_have_to_be_those_of_the_certificate)
{
    static const struct {
        const char *name, *ip, *server_name;
        const struct made *of;
        const char *why;
    } v[] = {
        {"app.internal", NULL, "", &app, ""},
        {"app.internal.", NULL, "", &app, ""},
        {"other", NULL, "", &app, HOST},
        {"other", NULL, "app.internal", &app, ""},
        {"other", NULL, "APP.internal", &app, ""},
        {"app.internal", NULL, "other", &app, HOST},
        {"a.prod.internal", NULL, "", &wild, ""},
        {"a.b.prod.internal", NULL, "", &wild, HOST},
        {"prod.internal", NULL, "", &wild, HOST},
        {"ab.part.internal", NULL, "", &wild, HOST},
        {"app.internal", NULL, "", &nameless, HOST},
        {NULL, "10.0.0.1", "", &address, ""},
        {NULL, "::1", "", &address, ""},
        {NULL, "::ffff:10.0.0.1", "", &address, ""},
        {NULL, "10.0.0.2", "", &address, IP},
        {NULL, "10.0.0.1", "", &app, IP},
        {NULL, "10.0.0.2", "10.0.0.1", &address, ""},
        {NULL, "10.0.0.1", "app.internal", &app, ""},
        {NULL, "10.0.0.1", "app.internal", &address, HOST},
    };
    const char *why;

    ck_assert_msg(trust(root.cert_pem, NULL, NULL), "%s", told);
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        server.name = str_of(v[i].name != NULL ? v[i].name : "");
        if (v[i].ip != NULL)
            is_at(v[i].ip);
        u.tls.server_name = str_of(v[i].server_name);
        why = result(v[i].of);
        ck_assert_msg(strncmp(why, v[i].why, strlen(v[i].why)) == 0 && (why[0] == '\0') == (v[i].why[0] == '\0'),
                      "%zu: %s", i, why);
    }
}
END_TEST

START_TEST(names_alone_are_asked_for)
{
    SSL_CTX *ctx = serve(&app, TLS1_3_VERSION);
    struct pair_of_test p;

    u.tls.verify = false;
    ck_assert(trust(NULL, NULL, NULL));
    server.name = STR("app.internal.");
    p = meet(ctx);
    ck_assert_str_eq(SSL_get_servername(p.server, TLSEXT_NAMETYPE_host_name), "app.internal");
    part(&p);
    is_at("10.0.0.1");
    p = meet(ctx);
    ck_assert_ptr_null(SSL_get_servername(p.server, TLSEXT_NAMETYPE_host_name));
    part(&p);
    u.tls.server_name = STR("other");
    p = meet(ctx);
    ck_assert_str_eq(SSL_get_servername(p.server, TLSEXT_NAMETYPE_host_name), "other");
    part(&p);
    SSL_CTX_free(ctx);
}
END_TEST

START_TEST(what_does_not_hold_is_told)
{
    ck_assert(trust(root.cert_pem, NULL, NULL));
    ck_assert_str_eq(result(&expired), "certificate verify failed: certificate has expired");
    ck_assert_str_eq(result(&weak), "certificate verify failed: EE certificate key too weak");
    ck_assert_str_eq(result(&stranger), "certificate verify failed: self-signed certificate");
    ck_assert(trust(stranger.cert_pem, NULL, NULL));
    ck_assert_str_eq(result(&app), "certificate verify failed: unable to get local issuer certificate");
    ck_assert(trust(app.cert_pem, NULL, NULL));        /* itself, which is no root */
    ck_assert_str_eq(result(&app), "");
    u.tls.verify = false;
    ck_assert(trust(NULL, NULL, NULL));
    ck_assert_str_eq(result(&expired), "");
    ck_assert_str_eq(told, "");
}
END_TEST

/* A unix socket, which the loader does not let through. */
START_TEST(without_a_name_nothing_is_verified)
{
    ck_assert(trust(root.cert_pem, NULL, NULL));
    server.name = STR("");
    server.address.ip.family = AF_UNIX;
    ck_assert_ptr_null(tls_client_open(&server, &memory));
}
END_TEST

static const char *
wrong(const char *ca, const char *cert, const char *key)
{
    told[0] = '\0';
    ck_assert(!trust(ca, cert, key));
    ck_assert_uint_eq(ERR_peek_error(), 0);
    return told;
}

START_TEST(files_that_are_none)
{
    char *cut = strdup(root.cert_pem), two[8192];

    ck_assert_str_eq(wrong("nonsense", NULL, NULL), "ca: there is no certificate in it, as PEM\n");
    ck_assert_str_eq(wrong(root.key_pem, NULL, NULL), "ca: there is no certificate in it, as PEM\n");
    cut[strlen(cut) / 2] = '\0';
    snprintf(two, sizeof(two), "%s%s", app.cert_pem, cut);
    ck_assert_ptr_nonnull(strstr(wrong(two, NULL, NULL), "ca: a certificate in it cannot be read"));
    ck_assert_ptr_nonnull(strstr(wrong(root.cert_pem, "x", mine.key_pem), "cert: the certificate cannot be used"));
    ck_assert_ptr_nonnull(strstr(wrong(root.cert_pem, mine.cert_pem, "x"), "key: it is no private key"));
    ck_assert_str_eq(wrong(root.cert_pem, mine.cert_pem, app.key_pem), "key: it is not the key of the certificate\n");
    ck_assert_ptr_nonnull(strstr(wrong(root.cert_pem, weak.cert_pem, weak.key_pem), "cert: the certificate cannot be"));
    told[0] = '\0';
    ck_assert(trust(root.cert_pem, expired.cert_pem, expired.key_pem));
    ck_assert_str_eq(told, "warning: cert: the certificate has expired\n");
    free(cut);
}
END_TEST

START_TEST(its_own_certificate_is_shown_with_its_issuers)
{
    struct made between = make((struct wish){"ec", "between", .issuer = &root, .ca = true});
    struct made leaf = make((struct wish){"ec", "leaf", .issuer = &between});
    SSL_CTX *ctx = serve(&app, TLS1_2_VERSION);
    struct pair_of_test p;
    char both[8192];

    snprintf(both, sizeof(both), "%s%s", leaf.cert_pem, between.cert_pem);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), root.x);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    ck_assert_msg(trust(root.cert_pem, both, leaf.key_pem), "%s", told);
    p = meet(ctx);
    ck_assert(p.done);
    ck_assert_int_eq(X509_cmp(SSL_get0_peer_certificate(p.server), leaf.x), 0);
    part(&p);
    ck_assert(trust(root.cert_pem, NULL, NULL));
    p = meet(ctx);
    ck_assert(!p.done);
    part(&p);
    SSL_CTX_free(ctx);
    unmake(&leaf);
    unmake(&between);
}
END_TEST

static int
choose(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in, unsigned in_n, void *seen)
{
    (void)ssl;
    snprintf(seen, 64, "%.*s", (int)in_n, (const char *)in);
    *out = in + 1;
    *n = in[0];
    return SSL_TLSEXT_ERR_OK;
}

START_TEST(one_protocol_is_offered)
{
    static const struct {
        int protocol;
        const char *offer;
    } v[] = {{UPSTREAM_HTTP1, "\x08http/1.1"}, {UPSTREAM_H2, "\x02h2"}};

    for (size_t i = 0; i < 2; i++) {
        SSL_CTX *ctx = serve(&app, TLS1_3_VERSION);
        struct pair_of_test p;
        char seen[64] = "";

        SSL_CTX_set_alpn_select_cb(ctx, choose, seen);
        u.protocol = v[i].protocol;
        ck_assert(trust(root.cert_pem, NULL, NULL));
        p = meet(ctx);
        ck_assert(p.done);
        ck_assert_str_eq(seen, v[i].offer);
        part(&p);
        SSL_CTX_free(ctx);
    }
}
END_TEST

/* How many of four connections, one after the other, resume. */
static int
resumed(SSL_CTX *ctx)
{
    int n = 0;

    for (int i = 0; i < 4; i++) {
        struct pair_of_test p = meet(ctx);

        ck_assert(p.done);
        n += SSL_session_reused(p.client);
        part(&p);
    }
    return n;
}

START_TEST(sessions_are_resumed)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

    ck_assert(trust(root.cert_pem, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        SSL_CTX *ctx = serve(&app, versions[i]), *other = serve(&app, versions[i]);

        ck_assert_int_eq(resumed(ctx), 3);
        ck_assert_int_eq(resumed(other), 3);    /* that one does not know the other's keys */
        SSL_CTX_free(ctx);
        SSL_CTX_free(other);
        tls_client_forget(&memory);
    }
}
END_TEST

START_TEST(a_ticket_of_tls_1_3_is_used_once)
{
    SSL_CTX *ctx = serve(&app, TLS1_3_VERSION);
    struct pair_of_test p;
    SSL *second;

    ck_assert(trust(root.cert_pem, NULL, NULL));
    p = meet(ctx);
    part(&p);
    ck_assert_ptr_nonnull(memory.session);
    second = tls_client_open(&server, &memory);
    ck_assert_ptr_nonnull(SSL_get_session(second));
    ck_assert_ptr_null(memory.session);
    SSL_free(second);
    SSL_CTX_free(ctx);
}
END_TEST

START_TEST(tickets_that_come_late_are_taken)
{
    SSL_CTX *ctx = serve(&app, TLS1_3_VERSION);
    struct pair_of_test p;
    char byte;

    ck_assert(trust(root.cert_pem, NULL, NULL));
    SSL_CTX_set_num_tickets(ctx, 0);
    p = meet(ctx);
    ck_assert(p.done);
    ck_assert_ptr_null(memory.session);
    ck_assert_int_eq(SSL_new_session_ticket(p.server), 1);
    ck_assert_int_eq(SSL_do_handshake(p.server), 1);
    ck_assert_int_le(SSL_read(p.client, &byte, 1), 0);
    ck_assert_ptr_nonnull(memory.session);
    part(&p);
    SSL_CTX_free(ctx);
}
END_TEST

START_TEST(a_server_that_sends_tickets_without_end)
{
    SSL_CTX *ctx = serve(&app, TLS1_3_VERSION);
    struct pair_of_test p;
    char byte;
    int i, result, error = SSL_ERROR_WANT_READ;

    ck_assert(trust(root.cert_pem, NULL, NULL));
    p = meet(ctx);
    for (i = 0; i < 1000 && error == SSL_ERROR_WANT_READ; i++) {
        ck_assert_int_eq(SSL_new_session_ticket(p.server), 1);
        ck_assert_int_eq(SSL_do_handshake(p.server), 1);
        result = SSL_read(p.client, &byte, 1);
        error = SSL_get_error(p.client, result);
    }
    ck_assert_int_lt(i, 100);
    ck_assert_int_eq(error, SSL_ERROR_ZERO_RETURN);
    part(&p);
    SSL_CTX_free(ctx);
}
END_TEST

/* A session is no way around the end of the certificate that it was made with. */
START_TEST(a_session_is_not_older_than_its_certificate)
{
    SSL_CTX *ctx = serve(&expired, TLS1_3_VERSION);

    u.tls.verify = false;
    ck_assert(trust(NULL, NULL, NULL));
    ck_assert_int_eq(resumed(ctx), 0);
    SSL_CTX_free(ctx);
}
END_TEST

START_TEST(failures_have_words)
{
    SSL_CTX *ctx = serve(&app, TLS1_3_VERSION);
    SSL *ssl;
    BIO *in = BIO_new(BIO_s_mem());

    ck_assert(trust(root.cert_pem, NULL, NULL));
    ssl = tls_client_open(&server, &memory);
    SSL_set_connect_state(ssl);
    SSL_set_bio(ssl, in, BIO_new(BIO_s_mem()));
    BIO_puts(in, "HTTP/1.1 400 Bad Request\r\n\r\n");
    ck_assert_int_lt(SSL_do_handshake(ssl), 1);
    ck_assert_str_eq(tls_client_why(ssl), "TLS handshake failed: the server does not speak TLS");
    ck_assert_uint_eq(ERR_peek_error(), 0);
    ck_assert_str_eq(tls_client_why(ssl), "connection lost in the TLS handshake");
    ck_assert_str_eq(tls_client_lost(), "connection lost");
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tls_client");
    TCase *t = tcase_create("");

    tcase_add_unchecked_fixture(t, begin, end);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, names_have_to_be_those_of_the_certificate);
    tcase_add_test(t, names_alone_are_asked_for);
    tcase_add_test(t, what_does_not_hold_is_told);
    tcase_add_test(t, without_a_name_nothing_is_verified);
    tcase_add_test(t, files_that_are_none);
    tcase_add_test(t, its_own_certificate_is_shown_with_its_issuers);
    tcase_add_test(t, one_protocol_is_offered);
    tcase_add_test(t, sessions_are_resumed);
    tcase_add_test(t, a_ticket_of_tls_1_3_is_used_once);
    tcase_add_test(t, tickets_that_come_late_are_taken);
    tcase_add_test(t, a_server_that_sends_tickets_without_end);
    tcase_add_test(t, a_session_is_not_older_than_its_certificate);
    tcase_add_test(t, failures_have_words);
    suite_add_tcase(suite, t);
    return unit_run(suite);
}
