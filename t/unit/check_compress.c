#include <check.h>
#include <stdlib.h>

#include "modules/compress.h"
#include "t/unit/arena.h"
#include "t/unit/section.h"
#include "t/unit/unit.h"
#include "worker/block.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

#define I CODING_IDENTITY
#define Z CODING_ZSTD
#define B CODING_BR
#define G CODING_GZIP

#define ALL "Accept-Encoding: gzip, deflate, br, zstd"
#define HTML "Content-Type: text/html; charset=utf-8"

static struct str types[] = {
    {"text/*", 6}, {"application/JSON", 16}, {"image/svg+xml", 13},
};

static const struct compress_policy usual = {
    .types = {types, COUNT(types)}, .min_size = 1024, .order = {Z, B, G}, .order_n = 3,
};

static struct request
exchange(const char *method, const char *asked, int status, int64_t length, const char *answered)
{
    struct request r = {.arena = arena, .minor = 1, .status = status};

    r.method = method_of((struct str){method, strlen(method)});
    r.request.fields = section(arena, asked);
    r.response.fields = section(arena, answered);
    fields_init(&r.response.trailers, arena);
    r.response.length = length;
    r.no_content = r.method == METHOD_HEAD || status == 204 || status == 304;
    return r;
}

/* The response's fields as lines that are ready, but for the last `behind` of them. */
static void
fold(struct request *r, size_t behind)
{
    struct fields all = r->response.fields;
    struct str block = STR("");
    size_t n = all.n > behind ? all.n - behind : 0;

    fields_init(&r->response.fields, arena);
    for (size_t i = 0; i < all.n; i++) {
        if (i < n)
            block = arena_printf(arena, "%.*s%.*s: %.*s\r\n", STR_ARG(block), STR_ARG(all.v[i].name),
                                 STR_ARG(all.v[i].value));
        else
            fields_add_known(&r->response.fields, &all.v[i]);
    }
    r->response.block = block.n > 0 ? block : STR_NONE;
}

enum { SAYS_NOTHING, VARIES, REFUSED };

struct row {
    const char *what, *method, *asked;
    int status;
    int64_t length;
    const char *answered;
    enum coding decode, encode;
    int says;
    const char *why;
};

static void
check_choice(const struct compress_policy *conf, const struct row *row, const struct request *r)
{
    struct compress_choice c;

    memset(&c, 0xff, sizeof(c));
    compress_choose(conf, r, &c);
    ck_assert_msg(c.decode == row->decode, "%s: %s: decode %d", row->what, row->answered, c.decode);
    ck_assert_msg(c.encode == row->encode, "%s: %s: encode %d", row->what, row->answered, c.encode);
    ck_assert_msg(c.varies == (row->says != SAYS_NOTHING), "%s: %s: varies %d", row->what, row->answered, c.varies);
    ck_assert_msg(c.unacceptable == (row->says == REFUSED), "%s: %s: 406 %d", row->what, row->answered,
                  c.unacceptable);
    ck_assert_msg((c.why == NULL) == (row->why == NULL) && (c.why == NULL || strcmp(c.why, row->why) == 0),
                  "%s: %s: why %s", row->what, row->answered, c.why != NULL ? c.why : "-");
    ck_assert((c.why == NULL) == (c.decode != I || c.encode != I));
}

/* By fields, by lines that are ready, and by both. */
static void
check_choices(const struct compress_policy *conf, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct row *w = &rows[i];

        for (size_t behind = 0; behind < 4; behind++) {
            struct request r = exchange(w->method, w->asked, w->status, w->length, w->answered);

            if (behind > 0)
                fold(&r, behind - 1);
            check_choice(conf, w, &r);
        }
    }
}

START_TEST(who_gets_what)
{
    static const struct row rows[] = {
        {"all", "GET", ALL, 200, 5000, HTML, I, Z, VARIES, NULL},
        {"gzip", "GET", "Accept-Encoding: gzip", 200, 5000, HTML, I, G, VARIES, NULL},
        {"by weight", "GET", "Accept-Encoding: gzip, br;q=0.9", 200, 5000, HTML, I, G, VARIES, NULL},
        {"nobody says", "GET", "Host: a", 200, 5000, HTML, I, I, VARIES, "not accepted"},
        {"identity", "GET", "Accept-Encoding: identity", 200, 5000, HTML, I, I, VARIES, "not accepted"},
        {"identity liked best", "GET", "Accept-Encoding: gzip;q=0.5, identity", 200, 5000, HTML, I, I, VARIES,
         "not accepted"},
        {"deflate", "GET", "Accept-Encoding: deflate", 200, 5000, HTML, I, I, VARIES, "not accepted"},
        {"malformed", "GET", "Accept-Encoding: gzip;", 200, 5000, HTML, I, I, VARIES, "not accepted"},
        {"HEAD", "HEAD", ALL, 200, 5000, HTML, I, Z, VARIES, NULL},
        {"HEAD, of any length", "HEAD", ALL, 200, -1, HTML, I, Z, VARIES, NULL},
        {"HEAD, small", "HEAD", ALL, 200, 1023, HTML, I, I, SAYS_NOTHING, "min_size"},
        {"POST", "POST", ALL, 200, 5000, HTML, I, Z, VARIES, NULL},
        {"of any length", "GET", ALL, 200, -1, HTML, I, Z, VARIES, NULL},
        {"just long enough", "GET", ALL, 200, 1024, HTML, I, Z, VARIES, NULL},
        {"too short", "GET", ALL, 200, 1023, HTML, I, I, SAYS_NOTHING, "min_size"},
        {"nothing", "GET", ALL, 200, 0, HTML, I, I, SAYS_NOTHING, "min_size"},
        {"an error", "GET", ALL, 404, 5000, HTML, I, Z, VARIES, NULL},
        {"an error", "GET", ALL, 500, -1, HTML, I, Z, VARIES, NULL},
        {"a redirect", "GET", ALL, 301, 5000, HTML, I, Z, VARIES, NULL},
        {"created", "POST", ALL, 201, 5000, HTML, I, Z, VARIES, NULL},
        {"101", "GET", ALL, 101, -1, HTML, I, I, SAYS_NOTHING, "status"},
        {"103", "GET", ALL, 103, -1, HTML, I, I, SAYS_NOTHING, "status"},
        {"204", "GET", ALL, 204, -1, HTML, I, I, SAYS_NOTHING, "status"},
        {"205", "GET", ALL, 205, -1, HTML, I, I, SAYS_NOTHING, "status"},
        {"304", "GET", ALL, 304, -1, HTML, I, I, SAYS_NOTHING, "status"},
        {"206", "GET", ALL, 206, 5000, HTML "\nContent-Range: bytes 0-4999/9000", I, I, VARIES, "status"},
        {"206, small", "GET", ALL, 206, 5, HTML "\nContent-Range: bytes 0-4/9000", I, I, VARIES, "status"},
        {"206, of no such type", "GET", ALL, 206, 5000, "Content-Type: image/png", I, I, SAYS_NOTHING, "status"},
        {"206, coded", "GET", "Accept-Encoding: br", 206, 5000, "Content-Type: image/png\nContent-Encoding: gzip", I, I,
         VARIES, "status"},
        {"206, no-transform", "GET", ALL, 206, 5000, HTML "\nCache-Control: no-transform", I, I, SAYS_NOTHING,
         "no-transform"},
        {"a 200 that is a part", "GET", ALL, 200, 5000, HTML "\nContent-Range: bytes 0-4999/9000", I, I, SAYS_NOTHING,
         "Content-Range"},
        {"416", "GET", ALL, 416, 5000, HTML "\nContent-Range: bytes */9000", I, I, SAYS_NOTHING, "Content-Range"},
    };

    check_choices(&usual, rows, COUNT(rows));
}
END_TEST

START_TEST(types_that_are_worth_it)
{
    static const struct { const char *type; bool worth; } rows[] = {
        {"text/html", true}, {"TEXT/HTML", true}, {"text/html;charset=utf-8", true}, {"text/css ; a=b", true},
        {"text/event-stream", true}, {"application/json", true}, {"Application/Json; a=\"b;c\"", true},
        {"image/svg+xml", true}, {"image/SVG+xml", true},
        {"image/png", false}, {"application/json5", false}, {"application/jso", false}, {"image/svg", false},
        {"text", false}, {"text/", false}, {"/html", false}, {"", false}, {";", false}, {"text/*, a/b", false},
        {"text/html text/css", false}, {"text/html/x", false}, {"xtext/html", false}, {"*/*", false},
        {"te xt/a", false},
        {"application/grpc", false}, {"application/grpc+json", false}, {"application/octet-stream", false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *answered = arena_printf(arena, "Content-Type: %s%c", rows[i].type, 0).p;
        struct row row = {"type", "GET", ALL, 200, 5000, answered, I, rows[i].worth ? Z : I,
                          rows[i].worth ? VARIES : SAYS_NOTHING, rows[i].worth ? NULL : "type"};

        check_choices(&usual, &row, 1);
    }
}
END_TEST

START_TEST(types_of_all_kinds)
{
    static struct str any[] = {{"*/*", 3}}, prefix[] = {{"Multipart/*", 11}};
    static const struct row rows[] = {
        {"any", "GET", ALL, 200, 5000, "Content-Type: a/b", I, Z, VARIES, NULL},
        {"any", "GET", ALL, 200, 5000, "Content-Type: image/png;x", I, Z, VARIES, NULL},
        {"none", "GET", ALL, 200, 5000, "Content-Length: 5000", I, I, SAYS_NOTHING, "type"},
        {"no type", "GET", ALL, 200, 5000, "Content-Type: html", I, I, SAYS_NOTHING, "type"},
        {"gRPC", "GET", ALL, 200, 5000, "Content-Type: application/grpc-web", I, I, SAYS_NOTHING, "type"},
        {"gRPC", "GET", "Accept-Encoding: br", 200, 5000, "Content-Type: Application/GRPC\nContent-Encoding: gzip", I,
         I, SAYS_NOTHING, "type"},
        {"parts", "GET", ALL, 200, 5000, "Content-Type: multipart/byteranges; boundary=a", I, I, SAYS_NOTHING, "type"},
        {"parts of anything", "GET", ALL, 206, 5000, "Content-Type: multipart/byteranges; boundary=a", I, I, VARIES,
         "status"},
    };
    struct compress_policy conf = usual;
    static const struct row mixed = {"mixed", "GET", ALL, 200, 5000, "Content-Type: multipart/mixed; boundary=a", I, Z,
                                     VARIES, NULL};

    conf.types = (struct str_list){any, 1};
    check_choices(&conf, rows, COUNT(rows));
    conf.types = (struct str_list){prefix, 1};
    check_choices(&conf, &mixed, 1);
    check_choices(&conf, rows + COUNT(rows) - 1, 1);
}
END_TEST

START_TEST(who_forbids_it)
{
    static const struct row rows[] = {
        {"response", "GET", ALL, 200, 5000, HTML "\nCache-Control: no-transform", I, I, SAYS_NOTHING, "no-transform"},
        {"case", "GET", ALL, 200, 5000, HTML "\nCACHE-CONTROL: No-Transform", I, I, SAYS_NOTHING, "no-transform"},
        {"lines", "GET", ALL, 200, 5000, HTML "\nCache-Control: max-age=9\nCache-Control: a, no-transform", I, I,
         SAYS_NOTHING, "no-transform"},
        {"argument", "GET", ALL, 200, 5000, HTML "\nCache-Control: no-transform=1", I, I, SAYS_NOTHING, "no-transform"},
        {"quoted", "GET", ALL, 200, 5000, HTML "\nCache-Control: a=\"no-transform\"", I, Z, VARIES, NULL},
        {"another", "GET", ALL, 200, 5000, HTML "\nCache-Control: no-transforms, no-cache", I, Z, VARIES, NULL},
        {"targeted", "GET", ALL, 200, 5000, HTML "\nCDN-Cache-Control: no-transform", I, I, SAYS_NOTHING,
         "no-transform"},
        {"beside a targeted", "GET", ALL, 200, 5000,
         HTML "\nWeir-Cache-Control: max-age=9\nCache-Control: no-transform", I, I, SAYS_NOTHING, "no-transform"},
        {"request", "GET", ALL "\nCache-Control: no-transform", 200, 5000, HTML, I, I, VARIES, "no-transform"},
        {"request", "GET", ALL "\nCache-Control: no-cache\nCache-Control: no-transform", 200, 5000, HTML, I, I,
         VARIES, "no-transform"},
        {"request, coded", "GET", "Accept-Encoding: br\nCache-Control: no-transform", 200, 5000,
         HTML "\nContent-Encoding: gzip", I, I, VARIES, "no-transform"},
        {"request, of no use to anyone", "GET", ALL "\nCache-Control: no-transform", 200, 5, HTML, I, I, SAYS_NOTHING,
         "no-transform"},
        {"both", "GET", ALL "\nCache-Control: no-transform", 200, 5000, HTML "\nCache-Control: no-transform", I, I,
         SAYS_NOTHING, "no-transform"},
        {"request", "GET", ALL "\nCache-Control: no-cache", 200, 5000, HTML, I, Z, VARIES, NULL},
        {"decoding", "GET", "Accept-Encoding: br", 200, 5000,
         HTML "\nContent-Encoding: gzip\nCache-Control: no-transform", I, I, SAYS_NOTHING, "no-transform"},
    };

    check_choices(&usual, rows, COUNT(rows));
}
END_TEST

START_TEST(what_is_coded_already)
{
    static const struct row rows[] = {
        {"taken", "GET", ALL, 200, 5000, HTML "\nContent-Encoding: gzip", I, I, VARIES, "coded already"},
        {"taken", "GET", "Accept-Encoding: br, gzip;q=0.001", 200, 5000, HTML "\nContent-Encoding: x-gzip", I, I,
         VARIES, "coded already"},
        {"taken by *", "GET", "Accept-Encoding: *;q=0.1", 200, 5000, HTML "\nContent-Encoding: br", I, I, VARIES,
         "coded already"},
        {"taken, of another type", "GET", ALL, 200, 5, "Content-Type: a/b\nContent-Encoding: zstd", I, I, VARIES,
         "coded already"},
        {"taken, of no type", "GET", ALL, 200, 5, "Content-Encoding: zstd", I, I, VARIES, "coded already"},
        {"nobody says", "GET", "Host: a", 200, 5000, HTML "\nContent-Encoding: gzip", G, I, VARIES, NULL},
        {"identity", "GET", "Accept-Encoding: identity", 200, 5, HTML "\nContent-Encoding: zstd", Z, I, VARIES, NULL},
        {"HEAD", "HEAD", "Accept-Encoding: identity", 200, 5, HTML "\nContent-Encoding: zstd", Z, I, VARIES, NULL},
        {"an error", "GET", "Host: a", 404, 5000, HTML "\nContent-Encoding: gzip", G, I, VARIES, NULL},
        {"another", "GET", "Accept-Encoding: br", 200, 5, HTML "\nContent-Encoding: GZip", G, B, VARIES, NULL},
        {"another, of any length", "GET", "Accept-Encoding: gzip", 200, -1, HTML "\nContent-Encoding: br", B, G, VARIES,
         NULL},
        {"another, refused", "GET", "Accept-Encoding: *, br;q=0", 200, 5, HTML "\nContent-Encoding: br", B, Z, VARIES,
         NULL},
        {"another, not for this type", "GET", "Accept-Encoding: br", 200, 5,
         "Content-Type: a/b\nContent-Encoding: gzip", G, I, VARIES, NULL},
        {"another, of nothing", "GET", "Accept-Encoding: br", 200, 0, HTML "\nContent-Encoding: gzip", G, I, VARIES,
         NULL},
        {"identity liked best", "GET", "Accept-Encoding: br;q=0.5, identity", 200, 5, HTML "\nContent-Encoding: gzip",
         G, I, VARIES, NULL},
        {"unknown", "GET", ALL, 200, 5000, HTML "\nContent-Encoding: deflate", I, I, SAYS_NOTHING, "coded already"},
        {"unknown", "GET", "Host: a", 200, 5000, HTML "\nContent-Encoding: dcb", I, I, SAYS_NOTHING, "coded already"},
        {"identity is unknown", "GET", ALL, 200, 5000, HTML "\nContent-Encoding: identity", I, I, SAYS_NOTHING,
         "coded already"},
        {"several", "GET", "Host: a", 200, 5000, HTML "\nContent-Encoding: gzip, br", I, I, SAYS_NOTHING,
         "coded already"},
        {"several", "GET", ALL, 200, 5000, HTML "\nContent-Encoding: gzip\nContent-Encoding: gzip", I, I, SAYS_NOTHING,
         "coded already"},
        {"empty", "GET", ALL, 200, 5000, HTML "\nContent-Encoding: ", I, Z, VARIES, NULL},
    };

    check_choices(&usual, rows, COUNT(rows));
}
END_TEST

START_TEST(who_refuses_identity)
{
    static const struct row rows[] = {
        {"nothing fits", "GET", "Accept-Encoding: identity;q=0", 200, 5000, HTML, I, I, REFUSED, "not accepted"},
        {"nothing fits", "GET", "Accept-Encoding: *;q=0", 200, 5000, HTML, I, I, REFUSED, "not accepted"},
        {"nothing fits", "HEAD", "Accept-Encoding: *;q=0", 200, -1, HTML, I, I, REFUSED, "not accepted"},
        {"nothing fits", "GET", "Accept-Encoding: deflate, identity;q=0", 203, -1, HTML, I, I, REFUSED, "not accepted"},
        {"one fits", "GET", "Accept-Encoding: gzip, *;q=0", 200, 5000, HTML, I, G, VARIES, NULL},
        {"one would fit", "GET", "Accept-Encoding: gzip, *;q=0", 200, 5000, "Content-Type: a/b", I, I, REFUSED,
         "not accepted"},
        {"one would fit", "GET", "Accept-Encoding: gzip, *;q=0", 200, 5, HTML, I, I, REFUSED, "not accepted"},
        {"one would fit", "GET", "Accept-Encoding: gzip, *;q=0", 200, 5000, HTML "\nCache-Control: no-transform", I, I,
         REFUSED, "not accepted"},
        {"coded", "GET", "Accept-Encoding: gzip, *;q=0", 200, 5, "Content-Encoding: gzip", I, I, VARIES,
         "coded already"},
        {"coded otherwise", "GET", "Accept-Encoding: gzip, *;q=0", 200, 5, HTML "\nContent-Encoding: br", B, G, VARIES,
         NULL},
        {"coded otherwise", "GET", "Accept-Encoding: gzip, *;q=0", 200, 5, "Content-Encoding: br", I, I, REFUSED,
         "not accepted"},
        {"coded, not to be touched", "GET", "Accept-Encoding: gzip, *;q=0", 200, 5,
         "Content-Encoding: gzip\nCache-Control: no-transform", I, I, SAYS_NOTHING, "no-transform"},
        {"unknown", "GET", "Accept-Encoding: *;q=0", 200, 5000, HTML "\nContent-Encoding: deflate", I, I, SAYS_NOTHING,
         "coded already"},
        {"a part", "GET", "Accept-Encoding: gzip, *;q=0", 206, 5, HTML, I, I, REFUSED, "not accepted"},
        {"a part, coded", "GET", "Accept-Encoding: gzip, *;q=0", 206, 5, HTML "\nContent-Encoding: gzip", I, I, VARIES,
         "status"},
        {"an error", "GET", "Accept-Encoding: *;q=0", 404, 5000, HTML, I, I, VARIES, "not accepted"},
        {"a redirect", "GET", "Accept-Encoding: *;q=0", 302, 5000, HTML, I, I, VARIES, "not accepted"},
        {"POST", "POST", "Accept-Encoding: *;q=0", 200, 5000, HTML, I, I, VARIES, "not accepted"},
        {"nothing to refuse", "GET", "Accept-Encoding: *;q=0", 204, -1, HTML, I, I, SAYS_NOTHING, "status"},
        {"nothing to refuse", "GET", "Accept-Encoding: *;q=0", 205, 0, HTML, I, I, SAYS_NOTHING, "status"},
        {"nothing to refuse", "GET", "Accept-Encoding: *;q=0", 200, 0, HTML, I, I, SAYS_NOTHING, "min_size"},
        {"not modified", "GET", "Accept-Encoding: *;q=0", 304, -1, HTML, I, I, SAYS_NOTHING, "status"},
    };

    check_choices(&usual, rows, COUNT(rows));
}
END_TEST

START_TEST(what_bears_secrets)
{
    static const struct { const char *asked, *answered; bool secret; } rows[] = {
        {ALL, HTML, false},
        {ALL, HTML "\nSet-Cookie: a=b", true},
        {ALL, HTML "\nset-cookie: a=b\nCache-Control: public", true},
        {ALL, HTML "\nCache-Control: private", true},
        {ALL, HTML "\nCache-Control: private=\"x\"", true},
        {ALL, HTML "\nCache-Control: no-store", true},
        {ALL, HTML "\nCDN-Cache-Control: max-age=9\nCache-Control: private", true},
        {ALL, HTML "\nCDN-Cache-Control: no-store\nCache-Control: public", true},
        {ALL, HTML "\nCache-Control: no-cache", false},
        {ALL "\nCookie: a=b", HTML, true},
        {ALL "\nAuthorization: a b", HTML, true},
        {ALL "\nCookie: a=b", HTML "\nCache-Control: max-age=60", true},
        {ALL "\nCookie: a=b", HTML "\nCache-Control: public", false},
        {ALL "\nCookie: a=b", HTML "\nCache-Control: s-maxage=9", false},
        {ALL "\nCookie: a=b", HTML "\nCache-Control: max-age=9, immutable", false},
        {ALL "\nAuthorization: a b", HTML "\nCache-Control: max-age=9, public", false},
        {ALL "\nAuthorization: a b", HTML "\nCache-Control: public, private", true},
    };
    static const struct row decoded[] = {
        {"decoded", "GET", "Host: a", 200, 5000, HTML "\nContent-Encoding: gzip\nSet-Cookie: a=b", G, I, VARIES, NULL},
        {"decoded", "GET", "Accept-Encoding: br", 200, 5000, HTML "\nContent-Encoding: gzip\nSet-Cookie: a=b", G, I,
         VARIES, NULL},
        {"refused", "GET", "Accept-Encoding: br, *;q=0", 200, 5000, HTML "\nSet-Cookie: a=b", I, I, REFUSED,
         "not accepted"},
    };
    struct compress_policy guarded = usual;

    guarded.breach_guard = true;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct row row = {"open", "GET", rows[i].asked, 200, 5000, rows[i].answered, I, Z, VARIES, NULL};

        check_choices(&usual, &row, 1);
        /* another's, who has no secret, would be coded */
        bool personal = strchr(rows[i].asked, '\n') != NULL && strstr(rows[i].answered, "private") == NULL;

        if (rows[i].secret)
            row = (struct row){"guarded", "GET", rows[i].asked, 200, 5000, rows[i].answered, I, I,
                               personal ? VARIES : SAYS_NOTHING, "breach_guard"};
        check_choices(&guarded, &row, 1);
    }
    check_choices(&guarded, decoded, COUNT(decoded));
}
END_TEST

START_TEST(policies_differ)
{
    static const struct row none = {"no encodings", "GET", ALL, 200, 5000, HTML, I, I, SAYS_NOTHING, "encodings"};
    static const struct row decoded = {"no encodings", "GET", "Host: a", 200, 5000, HTML "\nContent-Encoding: br", B, I,
                                       VARIES, NULL};
    static const struct row gzip = {"gzip first", "GET", ALL, 200, 5000, HTML, I, G, VARIES, NULL};
    static const struct row byte = {"min_size 0", "GET", ALL, 200, 1, HTML, I, Z, VARIES, NULL};
    static const struct row empty = {"min_size 0", "GET", ALL, 200, 0, HTML, I, I, SAYS_NOTHING, "min_size"};
    struct compress_policy conf = usual;
    struct request r;

    conf.min_size = 0;
    check_choices(&conf, &byte, 1);
    check_choices(&conf, &empty, 1);
    conf.order[0] = G;
    conf.order[2] = Z;
    check_choices(&conf, &gzip, 1);
    conf.order_n = 0;
    check_choices(&conf, &none, 1);
    check_choices(&conf, &decoded, 1);
    r = exchange("GET", ALL, 200, -1, HTML);
    r.tunnel = true;
    check_choice(&usual, &(struct row){"a tunnel", "GET", ALL, 200, -1, HTML, I, I, SAYS_NOTHING, "status"}, &r);
}
END_TEST

/* --- fields --- */

/* "A: 1\nB: 2", of a block too. */
static const char *
written(const struct request *r, const struct fields *f)
{
    struct str text = STR(""), block = f == &r->response.fields ? r->response.block : STR_NONE, name, value;

    while (block_next(&block, &name, &value))
        text = arena_printf(arena, "%.*s%s%.*s: %.*s", STR_ARG(text), text.n > 0 ? "\n" : "", STR_ARG(name),
                            STR_ARG(value));
    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].gone)
            text = arena_printf(arena, "%.*s%s%.*s: %.*s", STR_ARG(text), text.n > 0 ? "\n" : "", STR_ARG(f->v[i].name),
                                STR_ARG(f->v[i].value));
    return arena_printf(arena, "%.*s%c", STR_ARG(text), 0).p;
}

struct edit_row {
    const char *before, *after;
};

static void
check_edit(const struct edit_row *row, const char *asked, void (*edit)(struct request *))
{
    for (size_t behind = 0; behind < 4; behind++) {
        struct request r = exchange("GET", asked, 200, 5000, row->before);
        const char *after;

        if (behind > 0)
            fold(&r, behind - 1);
        edit(&r);
        after = written(&r, &r.response.fields);
        ck_assert_msg(strcmp(after, row->after) == 0, "%s\nmade\n%s\nnot\n%s", row->before, after, row->after);
    }
}

START_TEST(vary_is_merged)
{
    static const struct edit_row rows[] = {
        {"", "Vary: Accept-Encoding"},
        {"A: b", "A: b\nVary: Accept-Encoding"},
        {"Vary: Accept-Encoding", "Vary: Accept-Encoding"},
        {"vary: ACCEPT-encoding", "vary: ACCEPT-encoding"},
        {"Vary: a, Accept-Encoding, b", "Vary: a, Accept-Encoding, b"},
        {"Vary: *", "Vary: *"},
        {"Vary: a, *", "Vary: a, *"},
        {"Vary: Cookie", "Vary: Cookie, Accept-Encoding"},
        {"Vary: Cookie\nA: b", "Vary: Cookie, Accept-Encoding\nA: b"},
        {"Vary: Cookie ,\t,", "Vary: Cookie, Accept-Encoding"},
        {"Vary: ", "Vary: Accept-Encoding"},
        {"Vary: ,", "Vary: Accept-Encoding"},
        {"Vary: a\nVary: b", "Vary: a\nVary: b, Accept-Encoding"},
        {"Vary: a\nVary: Accept-Encoding\nVary: b", "Vary: a\nVary: Accept-Encoding\nVary: b"},
        {"Vary: Accept-Encoding\nVary: b", "Vary: Accept-Encoding\nVary: b"},
        {"Vary: *\nVary: b", "Vary: *\nVary: b"},
        {"Vary: X-Accept-Encoding", "Vary: X-Accept-Encoding, Accept-Encoding"},
        {"Vary: Accept-Encodings", "Vary: Accept-Encodings, Accept-Encoding"},
        {"Vary: Accept", "Vary: Accept, Accept-Encoding"},
        {"Vary: \"a", "Vary: \"a\nVary: Accept-Encoding"},
        {"Vary: \"a, Accept-Encoding", "Vary: \"a, Accept-Encoding\nVary: Accept-Encoding"},
        {"Vary: a b", "Vary: a b\nVary: Accept-Encoding"},
        {"X-Vary: a", "X-Vary: a\nVary: Accept-Encoding"},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        check_edit(&rows[i], "", compress_fields_vary);
}
END_TEST

/* What has no Vary stays folded: nothing of it is written anew. */
START_TEST(vary_leaves_a_block_folded)
{
    struct request r = exchange("GET", "", 200, 5000, "A: b\nC: d");

    fold(&r, 0);
    compress_fields_vary(&r);
    ck_assert(r.response.block.n > 0 && r.response.fields.n == 1);
    compress_fields_vary(&r);
    ck_assert(r.response.block.n > 0 && r.response.fields.n == 1);
}
END_TEST

static void
to_gzip(struct request *r)
{
    /* what comes from the store is edited as one where it answers GET or HEAD, and taken apart for others */
    bool stays = r->response.block.n > 0 && (r->method == METHOD_GET || r->method == METHOD_HEAD);

    compress_fields_recoded(r, CODING_GZIP, LENGTH_UNKNOWN);
    ck_assert(r->response.length == LENGTH_UNKNOWN && (stays || r->response.block.n == 0));
}

static void
to_identity(struct request *r)
{
    compress_fields_recoded(r, CODING_IDENTITY, 77);
    ck_assert(r->response.length == 77);
}

START_TEST(recoded_content_is_described)
{
    static const struct edit_row rows[] = {
        {"", "Content-Encoding: gzip"},
        {"A: b\nContent-Encoding: br\nC: d", "A: b\nC: d\nContent-Encoding: gzip"},
        {"Content-Encoding: \ncontent-encoding: x", "Content-Encoding: gzip"},
        {"ETag: \"a\"", "ETag: W/\"a\"\nContent-Encoding: gzip"},
        {"etag: \"\"", "etag: W/\"\"\nContent-Encoding: gzip"},
        {"ETag: W/\"a\"", "ETag: W/\"a\"\nContent-Encoding: gzip"},
        {"ETag: \"a\"\nETag: \"b\"", "ETag: W/\"a\"\nETag: W/\"b\"\nContent-Encoding: gzip"},
        {"ETag: a", "Content-Encoding: gzip"},
        {"ETag: \"a", "Content-Encoding: gzip"},
        {"ETag: \"a\", \"b\"", "Content-Encoding: gzip"},
        {"ETag: \"a b\"", "Content-Encoding: gzip"},
        {"ETag: w/\"a\"", "Content-Encoding: gzip"},
        {"Content-Length: 5000\nA: b", "A: b\nContent-Encoding: gzip"},
        {"Content-MD5: a\nDigest: b\nContent-Digest: c\nRepr-Digest: d", "Content-Encoding: gzip"},
        {"content-md5: a\nDIGEST: b\ndigest: c\nAccept-Ranges: bytes\naccept-ranges: x", "Content-Encoding: gzip"},
        {"Unencoded-Digest: a\nWant-Repr-Digest: b\nX-Digest: c",
         "Unencoded-Digest: a\nWant-Repr-Digest: b\nX-Digest: c\nContent-Encoding: gzip"},
        {"Content-Type: a/b\nLast-Modified: c\nContent-Language: d",
         "Content-Type: a/b\nLast-Modified: c\nContent-Language: d\nContent-Encoding: gzip"},
    };
    static const struct edit_row plain[] = {
        {"Content-Encoding: gzip", ""},
        {"Content-Encoding: gzip\nContent-Length: 5\nETag: \"a\"\nA: b", "ETag: W/\"a\"\nA: b"},
        {"A: b", "A: b"},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        check_edit(&rows[i], "", to_gzip);
    for (size_t i = 0; i < COUNT(plain); i++)
        check_edit(&plain[i], "", to_identity);
}
END_TEST

/* The tag of what there is now: the next If-Match is made of it. */
START_TEST(what_answers_a_change_keeps_its_tag)
{
    static const struct { const char *method; bool located, kept; } rows[] = {
        {"GET", false, false}, {"HEAD", false, false}, {"PROPFIND", false, false}, {"OPTIONS", false, false},
        {"PUT", false, true},  {"PUT", true, true},    {"DELETE", true, true},     {"POST", false, true},
        {"POST", true, false}, {"PATCH", false, true}, {"PATCH", true, false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct request r = exchange(rows[i].method, "", 200, 5000,
                                    rows[i].located ? "ETag: \"a\"\nRepr-Digest: d\nContent-Location: /"
                                                    : "ETag: \"a\"\nRepr-Digest: d");

        compress_fields_recoded(&r, CODING_GZIP, LENGTH_UNKNOWN);
        ck_assert_msg(str_eq(fields_find(&r.response.fields, STR("etag"))->value,
                             rows[i].kept ? STR("\"a\"") : STR("W/\"a\"")), "%s %d", rows[i].method, rows[i].located);
        ck_assert_ptr_null(fields_find(&r.response.fields, STR("repr-digest")));
    }
}
END_TEST

START_TEST(trailers_are_true_of_the_bytes)
{
    static const struct edit_row rows[] = {
        {"", ""},
        {"A: b", "A: b"},
        {"Digest: a\nA: b\nrepr-digest: c\nContent-MD5: d\nContent-Digest: e", "A: b"},
        {"ETag: \"a\"\nServer-Timing: b", "ETag: W/\"a\"\nServer-Timing: b"},
        {"Unencoded-Digest: a", "Unencoded-Digest: a"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct request r = exchange("GET", "", 200, 5000, "Digest: x");
        const char *after;

        r.response.trailers = section(arena, rows[i].before);
        compress_fields_trailers(&r);
        after = written(&r, &r.response.trailers);
        ck_assert_msg(strcmp(after, rows[i].after) == 0, "%s made %s", rows[i].before, after);
        ck_assert_str_eq(written(&r, &r.response.fields), "Digest: x");
    }
}
END_TEST

static void
confirm_coded(struct request *r)
{
    compress_fields_not_modified(r, true);
}

static void
confirm_plain(struct request *r)
{
    compress_fields_not_modified(r, false);
}

START_TEST(a_304_confirms_what_was_asked_for)
{
    static const struct { const char *asked, *before, *after; } rows[] = {
        {"If-None-Match: W/\"a\"", "ETag: \"a\"", "ETag: W/\"a\""},
        {"If-None-Match: \"a\"", "ETag: \"a\"", "ETag: \"a\""},
        {"If-None-Match: \"a\", W/\"a\"", "ETag: \"a\"", "ETag: W/\"a\""},
        {"If-None-Match: \"b\", W/\"c\" ,W/\"a\"", "ETag: \"a\"", "ETag: W/\"a\""},
        {"If-None-Match: \"b\"\nIf-None-Match: W/\"a\"", "A: b\nETag: \"a\"", "A: b\nETag: W/\"a\""},
        {"If-None-Match: W/\"b\", \"a\"", "ETag: \"a\"", "ETag: \"a\""},
        {"If-None-Match: *", "ETag: \"a\"", "ETag: \"a\""},
        {"If-None-Match: w/\"a\"", "ETag: \"a\"", "ETag: \"a\""},
        {"If-None-Match: W/\"a", "ETag: \"a\"", "ETag: \"a\""},
        {"If-None-Match: W/\"a\"", "ETag: W/\"a\"", "ETag: W/\"a\""},
        {"If-None-Match: W/\"a\"", "ETag: a", "ETag: a"},
        {"If-None-Match: W/\"a\"", "A: b", "A: b"},
        {"If-Modified-Since: x", "ETag: \"a\"", "ETag: \"a\""},
        {"If-None-Match: W/\"a\"",
         "Repr-Digest: d\nContent-MD5: b\nAccept-Ranges: bytes\nContent-Encoding: br\nETag: \"a\"", "ETag: W/\"a\""},
        {"If-None-Match: \"a\"", "ETag: \"a\"\nRepr-Digest: d\nContent-Encoding: br",
         "ETag: \"a\"\nRepr-Digest: d\nContent-Encoding: br"},
        {"If-Modified-Since: x", "Digest: d\nContent-Digest: e\nA: b", "A: b"},
    }, plain[] = {
        {"If-None-Match: \"a\", W/\"a\"", "ETag: \"a\"\nRepr-Digest: d", "ETag: \"a\"\nRepr-Digest: d"},
        {"If-None-Match: W/\"a\"", "ETag: \"a\"\nRepr-Digest: d", "ETag: W/\"a\""},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        check_edit(&(struct edit_row){rows[i].before, rows[i].after}, rows[i].asked, confirm_coded);
    for (size_t i = 0; i < COUNT(plain); i++)
        check_edit(&(struct edit_row){plain[i].before, plain[i].after}, plain[i].asked, confirm_plain);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("compress");
    TCase *choice = tcase_create("choice"), *fields = tcase_create("fields");

    tcase_add_checked_fixture(choice, setup, teardown);
    tcase_add_test(choice, who_gets_what);
    tcase_add_test(choice, types_that_are_worth_it);
    tcase_add_test(choice, types_of_all_kinds);
    tcase_add_test(choice, who_forbids_it);
    tcase_add_test(choice, what_is_coded_already);
    tcase_add_test(choice, who_refuses_identity);
    tcase_add_test(choice, what_bears_secrets);
    tcase_add_test(choice, policies_differ);
    suite_add_tcase(suite, choice);
    tcase_add_checked_fixture(fields, setup, teardown);
    tcase_add_test(fields, vary_is_merged);
    tcase_add_test(fields, vary_leaves_a_block_folded);
    tcase_add_test(fields, recoded_content_is_described);
    tcase_add_test(fields, what_answers_a_change_keeps_its_tag);
    tcase_add_test(fields, trailers_are_true_of_the_bytes);
    tcase_add_test(fields, a_304_confirms_what_was_asked_for);
    suite_add_tcase(suite, fields);
    return unit_run(suite);
}
