#include "t/unit/certificates.h"

#include "shm/tickets.h"
#include "t/unit/unit.h"
#include "worker/base/clock.h"
#include "worker/tls/facts.h"
#include "worker/tls/hello.h"

static struct made root, other_root, rsa, ec, wild_rsa, wild_ec, ed, client, foreign;

static void
begin(void)
{
    root = make((struct wish){"rsa", "root", .ca = true});
    other_root = make((struct wish){"ec", "other root", .ca = true});
    rsa = make((struct wish){"rsa", "rsa", "DNS:www.example.com,DNS:example.com", .issuer = &root});
    ec = make((struct wish){"ec", "ec", "DNS:WWW.example.com", .issuer = &root});
    wild_rsa = make((struct wish){"rsa", "wild rsa", "DNS:*.example.com", .issuer = &root});
    wild_ec = make((struct wish){"ec", "wild ec", "DNS:*.example.com,DNS:*.example.net", .issuer = &root});
    ed = make((struct wish){"ed25519", "ed", "DNS:ed.example.org", .issuer = &root});
    client = make((struct wish){"ec", "client, the \"first\"", .issuer = &root});
    foreign = make((struct wish){"ec", "foreign", .issuer = &other_root});
}

static void
end(void)
{
    struct made *all[] = {&root, &other_root, &rsa, &ec, &wild_rsa, &wild_ec, &ed, &client, &foreign};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        unmake(all[i]);
}

static void
add(struct site_of_test *s, const struct made *m)
{
    site_add(s, m->cert_pem, m->key_pem);
}

static struct site_of_test *
site_with(const struct made *a, const struct made *b, const struct made *c, const struct made *d)
{
    const struct made *all[] = {a, b, c, d};
    struct site_of_test *s = site_new();

    for (int i = 0; i < 4 && all[i] != NULL; i++)
        add(s, all[i]);
    return s;
}

static const char *
cn_of(const X509 *x)
{
    static char text[64];

    if (x == NULL || X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text, sizeof(text)) < 0)
        return "none";
    return text;
}

/* Who answers a client that can do such signatures ("": any). */
static void
gets(struct site_of_test *s, const char *name, const char *signatures, const char *cn)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *ctx = client_ctx(version, version);
        struct pair_of_test p;

        if (signatures[0] != '\0')
            ck_assert_int_eq(SSL_CTX_set1_sigalgs_list(ctx, signatures), 1);
        p = connect_to(s, client_of(ctx, name));
        ck_assert_msg(p.done, "%s", name);
        ck_assert_msg(strcmp(cn_of(SSL_get0_peer_certificate(p.client)), cn) == 0, "%s with %s: %s, not %s",
                      name != NULL ? name : "no name", signatures, cn_of(SSL_get0_peer_certificate(p.client)), cn);
        disconnect(&p);
        SSL_CTX_free(ctx);
    }
}

#define RSA_ALONE "RSA-PSS+SHA256:RSA+SHA256"
#define EC_ALONE "ECDSA+SHA256"

START_TEST(a_name_has_its_certificate)
{
    struct site_of_test *s = site_with(&ed, &rsa, &wild_ec, NULL);

    ck_assert_msg(site_open(s), "%s", s->told);
    ck_assert_str_eq(s->told, "");
    gets(s, "ed.example.org", "", "ed");
    gets(s, "www.example.com", RSA_ALONE, "rsa");
    gets(s, "WWW.Example.COM", RSA_ALONE, "rsa");
    gets(s, "www.example.com.", RSA_ALONE, "rsa");
    gets(s, "example.com", "", "rsa");
    gets(s, "a.example.com", "", "wild ec");
    gets(s, "a.example.net", "", "wild ec");
    gets(s, "a.b.example.com", "", "ed");       /* a wildcard is one label */
    gets(s, "example.net", "", "ed");
    gets(s, "com", "", "ed");
    gets(s, "no.such.name", "", "ed");
    gets(s, NULL, "", "ed");
    site_free(s);
}
END_TEST

START_TEST(of_each_kind_there_is_one)
{
    struct site_of_test *s = site_with(&wild_rsa, &wild_ec, &rsa, &ec);

    ck_assert_msg(site_open(s), "%s", s->told);
    gets(s, "www.example.com", RSA_ALONE, "rsa");
    gets(s, "www.example.com", EC_ALONE, "ec");
    gets(s, "www.example.com", "", "ec");
    gets(s, "a.example.com", RSA_ALONE, "wild rsa");
    gets(s, "a.example.com", EC_ALONE, "wild ec");
    gets(s, "example.com", "", "rsa");
    /* who sends no name gets the first, or what goes with it */
    gets(s, NULL, RSA_ALONE, "wild rsa");
    gets(s, NULL, EC_ALONE, "wild ec");
    site_free(s);
}
END_TEST

START_TEST(a_wildcard_completes_an_exact_name)
{
    struct site_of_test *s = site_with(&wild_rsa, &ec, NULL, NULL);

    ck_assert_msg(site_open(s), "%s", s->told);
    gets(s, "www.example.com", RSA_ALONE, "wild rsa");
    gets(s, "www.example.com", EC_ALONE, "ec");
    site_free(s);
}
END_TEST

/* The server asks for another key share: a second hello of the same connection comes. */
START_TEST(a_second_hello_gets_the_same)
{
    struct site_of_test *s = site_with(&ed, &rsa, &wild_ec, NULL);
    const char *names[][2] = {{"www.example.com", "wild ec"}, {"a.example.net", "wild ec"}, {"example.com", "rsa"}};
    SSL_CTX *ctx = client_ctx(TLS1_3_VERSION, 0);

    ck_assert(site_open(s));
    ck_assert_int_eq(SSL_CTX_set1_groups_list(ctx, "P-521:P-256"), 1);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct pair_of_test p = connect_to(s, client_of(ctx, names[i][0]));

        ck_assert(p.done);
        ck_assert_str_eq(cn_of(SSL_get0_peer_certificate(p.client)), names[i][1]);
        disconnect(&p);
    }
    SSL_CTX_free(ctx);
    site_free(s);
}
END_TEST

/* In the order of the file, of one kind. */
START_TEST(the_first_of_a_kind_wins)
{
    struct made again = make((struct wish){"ec", "again", "DNS:www.example.com", .issuer = &root});
    struct site_of_test *s = site_with(&ec, &again, NULL, NULL);

    ck_assert_msg(site_open(s), "%s", s->told);
    ck_assert_ptr_nonnull(strstr(s->told, "warning 1 cert: no client ever gets it"));
    gets(s, "www.example.com", "", "ec");
    site_free(s);
    unmake(&again);
}
END_TEST

static char *
both_of(const char *a, const char *b)
{
    char *p = malloc(strlen(a) + strlen(b) + 1);

    strcpy(p, a);
    strcat(p, b);
    return p;
}

/* Sessions */

static struct tickets *tickets;

static void
rotate(void)
{
    static unsigned char n;
    struct ticket_key key;

    memset(&key, ++n, sizeof(key));
    tickets_rotate(tickets, &key, n * TICKETS_ROTATE_MS);
}

static void
begin_tickets(void)
{
    begin();
    tickets = tickets_create();
    rotate();
    tls_server_share(tickets, NULL);
}

static void
end_tickets(void)
{
    tls_server_share(NULL, NULL);
    tickets_detach(tickets);
    end();
}

/* Another connection with the session of the last one, if there is one; which it leaves behind. */
static bool
resumes(struct site_of_test *s, int version, const char *name, const struct made *own, SSL_SESSION **session)
{
    SSL_CTX *ctx = client_ctx(version, version);
    struct pair_of_test p;
    SSL *ssl;
    bool reused;

    if (own != NULL)
        ck_assert_int_eq(SSL_CTX_use_cert_and_key(ctx, own->x, own->key, NULL, 1), 1);
    ssl = client_of(ctx, name);
    if (*session != NULL)
        SSL_set_session(ssl, *session);
    p = connect_to(s, ssl);
    ck_assert(p.done);
    reused = SSL_session_reused(p.server);
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(p.client);
    ck_assert_int_eq(reused, SSL_session_reused(p.client));
    disconnect(&p);
    SSL_CTX_free(ctx);
    return reused;
}

START_TEST(a_session_is_resumed)
{
    int version = _i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    struct site_of_test *s = site_with(&ec, &rsa, &wild_ec, NULL), *reloaded = site_with(&ec, &rsa, &wild_ec, NULL);
    SSL_SESSION *session = NULL;

    ck_assert(site_open(s) && site_open(reloaded));
    ck_assert(!resumes(s, version, "www.example.com", NULL, &session));
    ck_assert_ptr_nonnull(session);
    ck_assert(resumes(s, version, "www.example.com", NULL, &session));
    ck_assert(resumes(s, version, "www.example.com", NULL, &session));
    ck_assert(resumes(reloaded, version, "www.example.com", NULL, &session));
    ck_assert(resumes(reloaded, version, "WWW.EXAMPLE.COM.", NULL, &session));
    rotate();
    rotate();
    ck_assert(resumes(s, version, "www.example.com", NULL, &session));
    rotate();
    rotate();
    ck_assert(resumes(s, version, "www.example.com", NULL, &session));  /* it was sealed anew */
    rotate();
    rotate();
    rotate();
    ck_assert(!resumes(s, version, "www.example.com", NULL, &session));
    SSL_SESSION_free(session);
    site_free(s);
    site_free(reloaded);
}
END_TEST

static bool
refuses_elsewhere(struct site_of_test *from, struct site_of_test *to, const char *name, const char *other, int version,
                  const struct made *own)
{
    SSL_SESSION *session = NULL;
    bool refused;

    ck_assert(!resumes(from, version, name, own, &session));
    ck_assert(resumes(from, version, name, own, &session));
    refused = !resumes(to, version, other, own, &session);
    SSL_SESSION_free(session);
    return refused;
}

START_TEST(a_session_is_good_under_the_same_rules_alone)
{
    int version = _i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    struct site_of_test *s = site_with(&ec, &rsa, &wild_ec, NULL), *strict = site_with(&ec, &rsa, &wild_ec, NULL);
    struct site_of_test *fewer = site_with(&ec, &rsa, NULL, NULL), *others = site_with(&ec, &rsa, &wild_ec, NULL);
    const char *www = "www.example.com";
    char *both = both_of(root.cert_pem, other_root.cert_pem);

    strict->conf.client_ca = others->conf.client_ca = STR("/ca");
    strict->files.client_ca = pem(root.cert_pem);
    strict->conf.client_verify = others->conf.client_verify = CLIENT_VERIFY_REQUIRE;
    others->files.client_ca = pem(both);
    ck_assert(site_open(s) && site_open(strict) && site_open(fewer));
    ck_assert_msg(site_open(others), "%s", others->told);
    ck_assert(refuses_elsewhere(s, s, www, "a.example.com", version, NULL));
    ck_assert(refuses_elsewhere(s, s, "a.example.com", "b.example.com", version, NULL));
    ck_assert(refuses_elsewhere(s, s, www, NULL, version, NULL));
    ck_assert(refuses_elsewhere(s, strict, www, www, version, &client));
    ck_assert(refuses_elsewhere(strict, s, www, www, version, &client));
    ck_assert(refuses_elsewhere(strict, strict, www, "a.example.com", version, &client));
    ck_assert(refuses_elsewhere(strict, others, www, www, version, &client));
    ck_assert(!refuses_elsewhere(s, fewer, www, www, version, NULL));   /* the same certificates for that name */
    ck_assert(refuses_elsewhere(s, fewer, "a.example.com", "a.example.com", version, NULL));
    site_free(s);
    site_free(strict);
    site_free(fewer);
    site_free(others);
    free(both);
}
END_TEST

/* What a client has after it showed a certificate at a time when that was good. */
static SSL_SESSION *
session_of(struct site_of_test *s, int version, const struct made *own, time_t when)
{
    SSL_CTX *ctx = client_ctx(version, version);
    struct pair_of_test p = {.server = tls_server_open(&s->conf)};
    SSL_SESSION *session;
    char byte;

    ck_assert_int_eq(SSL_CTX_use_cert_and_key(ctx, own->x, own->key, NULL, 1), 1);
    p.client = client_of(ctx, "www.example.com");
    SSL_set_connect_state(p.client);
    X509_VERIFY_PARAM_set_time(SSL_get0_param(p.server), when);
    join(p.client, p.server);
    ck_assert(shake(p.client, p.server));
    ck_assert_int_le(SSL_read(p.client, &byte, 1), 0);
    session = SSL_get1_session(p.client);
    disconnect(&p);
    SSL_CTX_free(ctx);
    return session;
}

/* A session is no way around the end of the certificate that it was made with. */
START_TEST(a_session_is_not_older_than_its_certificate)
{
    int version = _i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    struct made old = make((struct wish){"ec", "old", .issuer = &root, .from = -1000, .until = -10});
    struct site_of_test *s = site_with(&ec, NULL, NULL, NULL);
    SSL_SESSION *session;

    s->conf.client_ca = STR("/ca");
    s->files.client_ca = pem(root.cert_pem);
    s->conf.client_verify = CLIENT_VERIFY_OPTIONAL;
    ck_assert(site_open(s));
    session = session_of(s, version, &client, time(NULL));
    ck_assert(resumes(s, version, "www.example.com", NULL, &session));
    SSL_SESSION_free(session);
    session = session_of(s, version, &old, time(NULL) - 500);
    ck_assert(SSL_SESSION_has_ticket(session));
    ck_assert(!resumes(s, version, "www.example.com", NULL, &session));
    SSL_SESSION_free(session);
    unmake(&old);
    site_free(s);
}
END_TEST

/* What a client of TLS 1.3 has whose session's first handshake was so many seconds ago. */
static SSL_SESSION *
session_since(struct site_of_test *s, int64_t ago)
{
    SSL_CTX *ctx = client_ctx(TLS1_3_VERSION, TLS1_3_VERSION);
    struct pair_of_test p = connect_to(s, client_of(ctx, "www.example.com"));
    int64_t first_s = clock_wall_ms() / 1000 - ago;
    SSL_SESSION *session;
    char byte;

    ck_assert(p.done);
    ck_assert_int_eq(SSL_SESSION_set1_ticket_appdata(SSL_get_session(p.server), &first_s, sizeof(first_s)), 1);
    ck_assert_int_eq(SSL_new_session_ticket(p.server), 1);
    ck_assert_int_eq(SSL_do_handshake(p.server), 1);
    ck_assert_int_le(SSL_read(p.client, &byte, 1), 0);
    session = SSL_get1_session(p.client);
    disconnect(&p);
    SSL_CTX_free(ctx);
    return session;
}

/* Though each connection brings home a ticket that is new. */
START_TEST(a_session_ends_a_day_after_its_first_handshake)
{
    struct site_of_test *s = site_with(&ec, NULL, NULL, NULL);
    SSL_SESSION *session;

    clock_update();
    ck_assert(site_open(s));
    session = session_since(s, 23 * 3600);
    for (int i = 0; i < 3; i++)
        ck_assert(resumes(s, TLS1_3_VERSION, "www.example.com", NULL, &session));
    SSL_SESSION_free(session);
    session = session_since(s, 25 * 3600);
    ck_assert(!resumes(s, TLS1_3_VERSION, "www.example.com", NULL, &session));
    ck_assert(resumes(s, TLS1_3_VERSION, "www.example.com", NULL, &session));
    SSL_SESSION_free(session);
    session = session_since(s, -3600);          /* the clock was set back */
    ck_assert(!resumes(s, TLS1_3_VERSION, "www.example.com", NULL, &session));
    SSL_SESSION_free(session);
    site_free(s);
}
END_TEST

START_TEST(without_a_key_there_is_no_ticket)
{
    int version = _i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    struct site_of_test *s = site_with(&ec, NULL, NULL, NULL);
    struct tickets *empty = tickets_create();
    SSL_SESSION *session = NULL;
    SSL *ssl;

    ck_assert(site_open(s));
    tls_server_share(empty, NULL);
    ssl = tls_server_open(&s->conf);
    ck_assert_uint_eq(SSL_get_num_tickets(ssl), 0);     /* OpenSSL would send some that are empty */
    SSL_free(ssl);
    ck_assert(!resumes(s, version, "www.example.com", NULL, &session));
    ck_assert(session == NULL || !SSL_SESSION_has_ticket(session));
    ck_assert(!resumes(s, version, "www.example.com", NULL, &session));
    SSL_SESSION_free(session);
    tickets_detach(empty);
    site_free(s);
}
END_TEST

/* ALPN */

static const struct {
    const char *offered;        /* as it is sent; NULL: no such extension */
    bool h1_first;
    const char *chosen;         /* NULL: the handshake ends */
} protocols[] = {
    {"\x02h2\x08http/1.1", false, "h2"},
    {"\x08http/1.1\x02h2", false, "h2"},
    {"\x08http/1.1\x02h2", true, "http/1.1"},
    {"\x08http/1.1", false, "http/1.1"},
    {"\x08http/1.0\x02h3", false, NULL},
    {NULL, false, ""},
};

START_TEST(the_server_chooses_the_protocol)
{
    static struct str turned[] = {STR("http/1.1"), STR("h2")};
    struct site_of_test *s = site_with(&ec, NULL, NULL, NULL);
    SSL_CTX *ctx = client_ctx(TLS1_2_VERSION, 0);
    const char *offered = protocols[_i].offered;
    const unsigned char *chosen;
    struct pair_of_test p;
    unsigned n;

    if (protocols[_i].h1_first)
        s->conf.alpn.v = turned;
    ck_assert(site_open(s));
    if (offered != NULL)
        SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)offered, (unsigned)strlen(offered));
    p = connect_to(s, client_of(ctx, "www.example.com"));
    ck_assert_int_eq(p.done, protocols[_i].chosen != NULL);
    if (p.done) {
        SSL_get0_alpn_selected(p.server, &chosen, &n);
        ck_assert_uint_eq(n, strlen(protocols[_i].chosen));
        ck_assert(n == 0 || memcmp(chosen, protocols[_i].chosen, n) == 0);
    }
    disconnect(&p);
    SSL_CTX_free(ctx);
    site_free(s);
}
END_TEST

/* Clients' certificates */

static const struct {
    int verify;
    const struct made *own;
    bool done;
    const char *verified;
} clients[] = {
    {CLIENT_VERIFY_NONE, &client, true, "NONE"},
    {CLIENT_VERIFY_OPTIONAL, NULL, true, "NONE"},
    {CLIENT_VERIFY_OPTIONAL, &client, true, "SUCCESS"},
    {CLIENT_VERIFY_OPTIONAL, &foreign, false, NULL},
    {CLIENT_VERIFY_REQUIRE, NULL, false, NULL},
    {CLIENT_VERIFY_REQUIRE, &client, true, "SUCCESS"},
    {CLIENT_VERIFY_REQUIRE, &foreign, false, NULL},
};

START_TEST(clients_show_certificates)
{
    struct site_of_test *s = site_with(&ec, NULL, NULL, NULL);
    const struct made *own = clients[_i].own;

    s->conf.client_ca = STR("/ca");
    s->files.client_ca = pem(root.cert_pem);
    s->conf.client_verify = clients[_i].verify;
    ck_assert_msg(site_open(s), "%s", s->told);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *ctx = client_ctx(version, version);
        struct tls_facts f = {0};
        struct pair_of_test p;

        if (own != NULL)
            SSL_CTX_use_cert_and_key(ctx, own->x, own->key, NULL, 1);
        p = connect_to(s, client_of(ctx, "Www.Example.Com."));
        ck_assert_int_eq(p.done, clients[_i].done);
        if (p.done) {
            bool shown = strcmp(clients[_i].verified, "SUCCESS") == 0;

            tls_server_facts(&s->conf, p.server, &f);
            ck_assert(str_eq(f.verify, str_of(clients[_i].verified)));
            ck_assert(str_eq(f.subject, str_of(shown ? "CN=client\\, the \\\"first\\\"" : "")));
            ck_assert(str_eq(f.sni, STR("www.example.com")));
            ck_assert(str_eq(f.version, str_of(version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3")));
            ck_assert_int_eq(f.strict, clients[_i].verify != CLIENT_VERIFY_NONE);
        }
        tls_facts_free(&f);
        ck_assert_ptr_null(f.sni.p);
        disconnect(&p);
        SSL_CTX_free(ctx);
    }
    site_free(s);
}
END_TEST

/* What a certificate says of itself comes into logs and fields. */
START_TEST(a_subject_is_plain_and_bounded)
{
    unsigned char text[] = "a\r\nX-Admin: yes\x01\xc3\xa9,+\"\\<>;", *long_text = malloc(4000);
    struct made odd = make((struct wish){"ec", "odd", .issuer = &root, .subject = text, .subject_n = sizeof(text) - 1});
    struct made large;
    const struct made *both[] = {&odd, &large};
    struct site_of_test *s = site_with(&ec, NULL, NULL, NULL);

    memset(long_text, 'x', 4000);
    large = make((struct wish){"ec", "large", .issuer = &root, .subject = long_text, .subject_n = 4000});
    s->conf.client_ca = STR("/ca");
    s->files.client_ca = pem(root.cert_pem);
    s->conf.client_verify = CLIENT_VERIFY_REQUIRE;
    ck_assert(site_open(s));
    for (size_t i = 0; i < 2; i++) {
        SSL_CTX *ctx = client_ctx(TLS1_2_VERSION, 0);
        struct tls_facts f = {0};
        struct pair_of_test p;

        SSL_CTX_use_cert_and_key(ctx, both[i]->x, both[i]->key, NULL, 1);
        p = connect_to(s, client_of(ctx, NULL));
        ck_assert(p.done);
        tls_server_facts(&s->conf, p.server, &f);
        ck_assert_uint_le(f.subject.n, 2048);
        ck_assert_uint_gt(f.subject.n, 0);
        for (size_t at = 0; at < f.subject.n; at++)
            ck_assert(f.subject.p[at] >= 0x20 && f.subject.p[at] < 0x7F);
        if (i == 0)
            ck_assert(str_eq(f.subject, STR("CN=odd,O=a\\0D\\0AX-Admin: yes\\01\\C3\\A9\\,\\+\\\"\\\\\\<\\>\\;")));
        else
            ck_assert(str_ends(f.subject, STR("xxx...")));
        ck_assert_uint_eq(f.sni.n, 0);
        tls_facts_free(&f);
        disconnect(&p);
        SSL_CTX_free(ctx);
    }
    site_free(s);
    unmake(&odd);
    unmake(&large);
    free(long_text);
}
END_TEST

/* What is told */

static void
tells(const char *cert, const char *key, const char *what)
{
    struct site_of_test *s = site_new();
    bool fatal = strncmp(what, "fatal", 5) == 0;

    site_add(s, cert, key);
    ck_assert_int_eq(site_open(s), !fatal);
    ck_assert_msg(strncmp(s->told, what, strlen(what)) == 0, "%s, not %s", s->told, what);
    ck_assert_msg(what[0] != '\0' || s->told[0] == '\0', "%s", s->told);
    site_free(s);
}

static char *
encrypted(const struct made *m)
{
    BIO *bio = BIO_new(BIO_s_mem());

    PEM_write_bio_PrivateKey(bio, m->key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
    return pem_text(bio);
}

START_TEST(a_pair_has_to_be_one)
{
    struct made small = make((struct wish){"rsa1024", "small", "DNS:a", .issuer = &root});
    char *chain = both_of(root.cert_pem, ec.cert_pem), *right = both_of(ec.cert_pem, root.cert_pem);
    char *broken = both_of(ec.cert_pem, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    char *locked = encrypted(&ec), *combined = both_of(ec.cert_pem, ec.key_pem);

    tells(ec.cert_pem, ec.key_pem, "");
    tells(right, ec.key_pem, "");
    tells(combined, combined, "");
    tells(ec.cert_pem, rsa.key_pem, "fatal 0 key: it is not the key of this certificate");
    tells(ec.cert_pem, wild_ec.key_pem, "fatal 0 key: it is not the key of this certificate");
    tells(chain, ec.key_pem, "fatal 0 cert: the key belongs to certificate 2 of the file");
    tells(ec.cert_pem, locked, "fatal 0 key: it is encrypted");
    tells(ec.cert_pem, "", "fatal 0 key: there is no private key in PEM");
    tells(ec.cert_pem, ec.cert_pem, "fatal 0 key: there is no private key in PEM, but a certificate");
    tells("-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"
          "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAAAAAAAAAAAAAAAAAAAA==\n"
          "-----END CERTIFICATE-----\n", ec.key_pem,
          "fatal 0 cert: certificate 1 cannot be read: bad password read");    /* nobody was asked */
    tells("rubbish", ec.key_pem, "fatal 0 cert: there is no certificate in PEM");
    tells(ec.key_pem, ec.key_pem, "fatal 0 cert: there is no certificate in PEM");
    tells(broken, ec.key_pem, "fatal 0 cert: certificate 2 cannot be read");
    tells(small.cert_pem, small.key_pem, "fatal 0 key: an RSA key of 1024 bits is too short");
    free(chain);
    free(right);
    free(broken);
    free(locked);
    free(combined);
    unmake(&small);
}
END_TEST

START_TEST(what_is_odd_is_a_warning)
{
    struct made late = make((struct wish){"ec", "late", "DNS:a", .issuer = &root, .from = -3 * DAY, .until = -2 * DAY});
    struct made early = make((struct wish){"ec", "early", "DNS:a", .issuer = &root, .from = DAY, .until = 2 * DAY});
    struct made nameless = make((struct wish){"ec", "nameless", .issuer = &root});
    struct made address = make((struct wish){"ec", "address", "IP:192.0.2.1", .issuer = &root});
    char *wrong = both_of(ec.cert_pem, other_root.cert_pem);

    tells(late.cert_pem, late.key_pem, "warning 0 cert: it has expired");
    tells(early.cert_pem, early.key_pem, "warning 0 cert: it is not good before");
    tells(nameless.cert_pem, nameless.key_pem, "warning 0 cert: it names no host");
    tells(address.cert_pem, address.key_pem, "");
    tells(wrong, ec.key_pem, "warning 0 cert: certificate 2 of the file did not sign the one before it");
    free(wrong);
    unmake(&late);
    unmake(&early);
    unmake(&nameless);
    unmake(&address);
}
END_TEST

START_TEST(all_is_told_at_once)
{
    struct site_of_test *s = site_new();

    site_add(s, ec.cert_pem, rsa.key_pem);
    site_add(s, ec.cert_pem, ec.key_pem);
    site_add(s, "", rsa.key_pem);
    s->conf.client_verify = CLIENT_VERIFY_OPTIONAL;
    s->conf.ciphers = STR("NONSENSE");
    ck_assert(!site_open(s));
    ck_assert_ptr_nonnull(strstr(s->told, "fatal 0 key: it is not the key"));
    ck_assert_ptr_nonnull(strstr(s->told, "fatal 2 cert: there is no certificate"));
    ck_assert_ptr_nonnull(strstr(s->told, "fatal -1 client_verify: needs `client_ca`"));
    ck_assert_ptr_nonnull(strstr(s->told, "fatal -1 ciphers: OpenSSL knows no `NONSENSE`"));
    site_free(s);
}
END_TEST

START_TEST(a_client_ca_has_to_be_of_use)
{
    struct site_of_test *s = site_with(&ec, NULL, NULL, NULL);

    s->conf.client_ca = STR("/ca");
    s->files.client_ca = pem("rubbish");
    s->conf.client_verify = CLIENT_VERIFY_REQUIRE;
    ck_assert(!site_open(s));
    ck_assert_str_eq(s->told, "fatal -1 client_ca: there is no certificate in PEM\n");
    site_free(s);
    s = site_with(&ec, NULL, NULL, NULL);
    s->conf.client_ca = STR("/ca");
    s->files.client_ca = pem(root.cert_pem);
    ck_assert(site_open(s));
    ck_assert_ptr_nonnull(strstr(s->told, "warning -1 client_ca: without `client_verify`"));
    site_free(s);
}
END_TEST

static const struct {
    const char *text;
    const char *told;           /* "" : nothing */
} ciphers[] = {
    {"ECDHE-RSA-AES128-GCM-SHA256", ""},
    {"ECDHE-ECDSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256", ""},
    {"TLS_CHACHA20_POLY1305_SHA256", ""},
    {"ECDHE+AESGCM:!AES256", ""},
    {"ECDHE+AESGCM:-AES256:+AES128:@STRENGTH", ""},
    {"ECDHE-RSA-AES128-GCM-SHA256:TYPO", "fatal -1 ciphers: OpenSSL knows no `TYPO`"},
    {"RC4-SHA", "fatal -1 ciphers: "},
    {"DES-CBC3-SHA", "fatal -1 ciphers: "},
    {"AES128-GCM-SHA256", "fatal -1 ciphers: AES128-GCM-SHA256 is not taken"},
    {"ECDHE-RSA-AES128-SHA", "fatal -1 ciphers: ECDHE-RSA-AES128-SHA is not taken"},
    {"DHE-RSA-AES128-GCM-SHA256", "fatal -1 ciphers: DHE-RSA-AES128-GCM-SHA256 is not taken"},
    {"HIGH", "fatal -1 ciphers: "},
    {"aNULL", "fatal -1 ciphers: "},
    {"eNULL", "fatal -1 ciphers: "},
    {"ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", "fatal -1 ciphers: "},
    {"ECDHE+AESGCM:!ECDHE", "fatal -1 ciphers: nothing is left"},
    {"TLS_AES_128_GCM_SHA256:TLS_NONSENSE", "fatal -1 ciphers: "},
    {":::", ""},
};

START_TEST(ciphers_are_good)
{
    struct site_of_test *s = site_with(&ec, &rsa, NULL, NULL);
    const char *told = ciphers[_i].told;

    s->conf.ciphers = str_of(ciphers[_i].text);
    ck_assert_msg(site_open(s) == (told[0] == '\0'), "%s: %s", ciphers[_i].text, s->told);
    ck_assert_msg(strncmp(s->told, told, strlen(told)) == 0, "%s: %s", ciphers[_i].text, s->told);
    site_free(s);
}
END_TEST

/* Ours counts, but for a client that wants ChaCha20: it has no AES in hardware. */
START_TEST(the_server_chooses_the_cipher)
{
    static const char *const lists[][2] = {
        {"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
        {"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384"},
        {"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    };
    struct site_of_test *s = site_with(&ec, NULL, NULL, NULL);
    SSL_CTX *ctx = client_ctx(TLS1_2_VERSION, TLS1_2_VERSION);
    struct pair_of_test p;

    ck_assert(site_open(s));
    SSL_CTX_set_cipher_list(ctx, lists[_i][0]);
    p = connect_to(s, client_of(ctx, NULL));
    ck_assert(p.done);
    ck_assert_str_eq(SSL_get_cipher_name(p.client), lists[_i][1]);
    disconnect(&p);
    SSL_CTX_free(ctx);
    site_free(s);
}
END_TEST

static bool
comes_through(struct site_of_test *s, int version, const char *list)
{
    SSL_CTX *ctx = client_ctx(version, version);
    struct pair_of_test p;
    bool done;

    SSL_CTX_set_security_level(ctx, 0);
    if (list != NULL)
        ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, list), 1);
    p = connect_to(s, client_of(ctx, "www.example.com"));
    done = p.done;
    disconnect(&p);
    SSL_CTX_free(ctx);
    return done;
}

START_TEST(old_things_do_not_come_through)
{
    struct site_of_test *s = site_with(&rsa, &ec, NULL, NULL), *new = site_with(&rsa, &ec, NULL, NULL);

    new->conf.min_version = TLS_1_3;
    ck_assert(site_open(s) && site_open(new));
    ck_assert(comes_through(s, TLS1_3_VERSION, NULL));
    ck_assert(comes_through(s, TLS1_2_VERSION, NULL));
    ck_assert(comes_through(s, TLS1_2_VERSION, "ECDHE-RSA-CHACHA20-POLY1305"));
    ck_assert(!comes_through(s, TLS1_1_VERSION, NULL));
    ck_assert(!comes_through(s, TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA"));
    ck_assert(!comes_through(s, TLS1_2_VERSION, "AES128-GCM-SHA256"));
    ck_assert(!comes_through(s, TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256"));
    ck_assert(comes_through(new, TLS1_3_VERSION, NULL));
    ck_assert(!comes_through(new, TLS1_2_VERSION, NULL));
    site_free(s);
    site_free(new);
}
END_TEST

/* The extension's content, with its lengths right unless they are meant to be wrong. */
static const struct {
    const char *bytes;
    size_t n;
    const char *name;           /* NULL: malformed */
} hellos[] = {
    {"\0\x06\0\0\x03" "a.b", 8, "a.b"},
    {"\0\x06\0\0\x03" "A.B", 8, "a.b"},
    {"\0\x07\0\0\x04" "a.b.", 9, "a.b"},
    {"\0\x05\0\0\x02" "x_", 7, "x_"},
    {"", 0, NULL},
    {"\0\0", 2, NULL},
    {"\0\x03\0\0\0", 5, NULL},
    {"\0\x04\0\0\x01.", 6, NULL},
    {"\0\x05\0\0\x02..", 7, NULL},
    {"\0\x05\0\0\x02.a", 7, NULL},
    {"\0\x07\0\0\x04" "a..b", 9, NULL},
    {"\0\x07\0\0\x04" "a.b\0", 9, NULL},
    {"\0\x06\0\0\x03" "a b", 8, NULL},
    {"\0\x06\0\0\x03" "a*b", 8, NULL},
    {"\0\x06\0\0\x03" "a\xc3\xa9", 8, NULL},
    {"\0\x06\0\0\x03" "a:1", 8, NULL},
    {"\0\x06\x01\0\x03" "a.b", 8, NULL},            /* another type */
    {"\0\x06\0\0\x02" "a.b", 8, NULL},              /* lengths that do not agree */
    {"\0\x05\0\0\x03" "a.b", 8, NULL},
    {"\0\x07\0\0\x03" "a.b", 8, NULL},
    {"\0\x06\0\0\x03" "a.bc", 9, NULL},
    {"\0\x08\0\0\x01" "a\0\0\x01" "b", 10, NULL},   /* two names */
};

START_TEST(a_hello_has_one_name)
{
    char name[HELLO_NAME_MOST];
    size_t n = 0;
    bool good = hello_name((const unsigned char *)hellos[_i].bytes, hellos[_i].n, name, &n);

    ck_assert_int_eq(good, hellos[_i].name != NULL);
    if (good)
        ck_assert(str_eq((struct str){name, n}, str_of(hellos[_i].name)));
}
END_TEST

START_TEST(a_name_has_255_bytes_at_most)
{
    unsigned char bytes[5 + 300] = {0};
    char name[HELLO_NAME_MOST];
    size_t got;

    for (size_t n = 250; n < 300; n++) {
        bytes[0] = (unsigned char)((n + 3) >> 8);
        bytes[1] = (unsigned char)(n + 3);
        bytes[3] = (unsigned char)(n >> 8);
        bytes[4] = (unsigned char)n;
        memset(bytes + 5, 'a', n);
        ck_assert_int_eq(hello_name(bytes, n + 5, name, &got), n <= 255);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("tls_server");
    TCase *names = tcase_create("names"), *sessions = tcase_create("sessions"), *hello = tcase_create("hello");

    tcase_add_unchecked_fixture(names, begin, end);
    tcase_add_test(names, a_name_has_its_certificate);
    tcase_add_test(names, of_each_kind_there_is_one);
    tcase_add_test(names, a_wildcard_completes_an_exact_name);
    tcase_add_test(names, a_second_hello_gets_the_same);
    tcase_add_test(names, the_first_of_a_kind_wins);
    tcase_add_loop_test(names, the_server_chooses_the_protocol, 0, sizeof(protocols) / sizeof(protocols[0]));
    tcase_add_loop_test(names, clients_show_certificates, 0, sizeof(clients) / sizeof(clients[0]));
    tcase_add_test(names, a_subject_is_plain_and_bounded);
    tcase_add_test(names, a_pair_has_to_be_one);
    tcase_add_test(names, what_is_odd_is_a_warning);
    tcase_add_test(names, all_is_told_at_once);
    tcase_add_test(names, a_client_ca_has_to_be_of_use);
    tcase_add_loop_test(names, ciphers_are_good, 0, sizeof(ciphers) / sizeof(ciphers[0]));
    tcase_add_loop_test(names, the_server_chooses_the_cipher, 0, 3);
    tcase_add_test(names, old_things_do_not_come_through);
    tcase_add_unchecked_fixture(sessions, begin_tickets, end_tickets);
    tcase_add_loop_test(sessions, a_session_is_resumed, 0, 2);
    tcase_add_loop_test(sessions, a_session_is_good_under_the_same_rules_alone, 0, 2);
    tcase_add_loop_test(sessions, a_session_is_not_older_than_its_certificate, 0, 2);
    tcase_add_test(sessions, a_session_ends_a_day_after_its_first_handshake);
    tcase_add_loop_test(sessions, without_a_key_there_is_no_ticket, 0, 2);
    tcase_add_loop_test(hello, a_hello_has_one_name, 0, sizeof(hellos) / sizeof(hellos[0]));
    tcase_add_test(hello, a_name_has_255_bytes_at_most);
    suite_add_tcase(suite, names);
    suite_add_tcase(suite, sessions);
    suite_add_tcase(suite, hello);
    return unit_run(suite);
}
