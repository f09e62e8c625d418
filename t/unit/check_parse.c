/*
 * Every head of the tables is fed whole, byte by byte, and cut in two at every place; at each cut the
 * bytes so far move to a buffer that is exactly as long as they are. What comes out must always be the same.
 */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "t/unit/unit.h"
#include "worker/base/scan.h"
#include "worker/h1/parse.h"

#define LEVELS (SCAN_AVX2 + 1)

struct row {
    const char *text;
    size_t n;
    int got;
    const char *want;           /* what show() makes of it, where it is whole */
};

#define OK(text, want) {text, sizeof(text) - 1, H1_DONE, want}
#define NO(status, text) {text, sizeof(text) - 1, status, NULL}
#define MORE(text) NO(H1_MORE, text)

/* A good request line and Host around what is tried. */
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define GET10 "GET / HTTP/1.0\r\nHost: a\r\n"
#define END "\r\n"
#define FIELDS(status, fields) NO(status, GET fields "\r\n" END)
#define FIELD(name, value, want) OK(GET name ":" value "\r\n" END, want)

static const struct row requests[] = {
    OK(GET END, "GET / 1.1 none keep |Host=a"),
    OK("OPTIONS * HTTP/1.1\r\nHost:a\r\n\r\n", "OPTIONS * 1.1 none keep |Host=a"),
    OK("M!#$%&'*+-.^_`|~09azAZ /x HTTP/1.1\r\nHost: a\r\n\r\n",
       "M!#$%&'*+-.^_`|~09azAZ /x 1.1 none keep |Host=a"),
    OK("GET http://a:80/?b=c HTTP/1.1\r\nHost: a:80\r\n\r\n",
       "GET http://a:80/?b=c 1.1 none keep |Host=a:80"),
    OK("get !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~ HTTP/1.1\r\nHost: a\r\n\r\n",
       "get !\"#$%&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~ 1.1 none keep |Host=a"),
    OK("GET / HTTP/1.1\r\n\r\n", "GET / 1.1 none keep nohost"),
    OK("GET / HTTP/1.0\r\n\r\n", "GET / 1.0 none close nohost"),
    OK("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
       "POST / 1.1 length:3 keep |Host=a|Content-Length=3"),

    /* the request line: nothing but one space between the parts */
    NO(400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    NO(400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / \r\n\r\n"),
    NO(400, "GET\r\n\r\n"),
    NO(400, "/ HTTP/1.1\r\n\r\n"),
    NO(400, "G:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "G\xc3T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "G(T / HTTP/1.1\r\n"),
    NO(400, "\x16\x03\x01\x02"),
    NO(400, "\0"),
    /* the target */
    NO(400, "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET /a\nb HTTP/1.1\r\nHost: a\r\n\r\n"),
    /* the version */
    NO(400, "GET /\r\n\r\n"),
    NO(400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / Http/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/11\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1.\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1.1a\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/01.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1,1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/-1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTPS/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTP/1.1\r\nHost: a\r\n\r\n"),
    NO(400, "GET / ICY/1.1\r\nHost: a\r\n\r\n"),
    NO(505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    NO(505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    NO(505, "GET / HTTP/3.0\r\n"),
    NO(505, "GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
    OK("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / 1.1 none keep |Host=a"),
    OK("GET / HTTP/1.9\r\nHost: a\r\n\r\n", "GET / 1.1 none keep |Host=a"),
    NO(400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    NO(505, "PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    /* empty lines before it: two, of CRLF */
    OK("\r\n" GET END, "GET / 1.1 none keep |Host=a"),
    OK("\r\n\r\n" GET END, "GET / 1.1 none keep |Host=a"),
    NO(400, "\r\n\r\n\r\n" GET END),
    NO(400, "\n" GET END),
    NO(400, "\r\r\n" GET END),
    NO(400, "\r" GET END),
    NO(400, " \r\n" GET END),
    MORE("\r\n\r\n"),
    /* bare LF, bare CR */
    NO(400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    NO(400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    NO(400, "GET / HTTP/1.1\r\nHost: a\r\n\rX"),
    NO(400, "GET / HTTP/1.1\rHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    NO(400, "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    NO(400, "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    NO(400, "GET / HTTP/1.1\n\n"),

    /* field names */
    FIELDS(400, "X : b"),
    FIELDS(400, "X\t: b"),
    FIELDS(400, ": b"),
    FIELDS(400, "X"),
    FIELDS(400, "X b"),
    FIELDS(400, " X: b"),
    FIELDS(400, "\tX: b"),
    FIELDS(400, "X: a\r\n b"),
    FIELDS(400, "X: a\r\n\tb"),
    FIELDS(400, "X: a\r\n "),
    FIELDS(400, "X\0: b"),
    FIELDS(400, "X\x7f: b"),
    FIELDS(400, "X\x80: b"),
    FIELDS(400, "\xef\xbb\xbfX: b"),
    FIELDS(400, "X(: b"),
    FIELDS(400, "X@Y: b"),
    FIELDS(400, "X/Y: b"),
    FIELDS(400, "\"X\": b"),
    FIELDS(400, "X;: b"),
    FIELDS(400, "X{}: b"),
    FIELDS(400, "X[a]: b"),
    FIELDS(400, "X=Y: b"),
    FIELDS(400, "X,Y: b"),
    FIELDS(400, "X\\: b"),
    FIELDS(400, "Content-Length : 3"),
    FIELDS(400, "Transfer-Encoding : chunked"),
    FIELDS(400, "Transfer-Encoding\x0b: chunked"),
    NO(400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    NO(400, "GET / HTTP/1.1\r\n:\r\n\r\n"),
    FIELD("x!#$%&'*+-.^_`|~09AZ", "b", "GET / 1.1 none keep |Host=a|x!#$%&'*+-.^_`|~09AZ=b"),
    /* field values */
    FIELD("X", "", "GET / 1.1 none keep |Host=a|X="),
    FIELD("X", " ", "GET / 1.1 none keep |Host=a|X="),
    FIELD("X", "\t \t", "GET / 1.1 none keep |Host=a|X="),
    FIELD("X", "b", "GET / 1.1 none keep |Host=a|X=b"),
    FIELD("X", " \t b \t", "GET / 1.1 none keep |Host=a|X=b"),
    FIELD("X", " b\tc  d ", "GET / 1.1 none keep |Host=a|X=b\tc  d"),
    FIELD("X", " a: b:c", "GET / 1.1 none keep |Host=a|X=a: b:c"),
    FIELD("X", " \x80\xff\xc3\xa4", "GET / 1.1 none keep |Host=a|X=\x80\xff\xc3\xa4"),
    FIELD("X", " !\"#~", "GET / 1.1 none keep |Host=a|X=!\"#~"),
    FIELD("X", " a\r\nX: c", "GET / 1.1 none keep |Host=a|X=a|X=c"),
    FIELDS(400, "X: a\0b"),
    FIELDS(400, "X: \0"),
    FIELDS(400, "X: a\x01"),
    FIELDS(400, "X: a\x08"),
    FIELDS(400, "X: a\x0b"),
    FIELDS(400, "X: a\x0c"),
    FIELDS(400, "X: a\x1b[0m"),
    FIELDS(400, "X: a\x1f"),
    FIELDS(400, "X: a\x7f"),
    FIELDS(400, "X: a\rb"),
    FIELDS(400, "X: a\nb"),
    FIELDS(400, "X: a\nY: b"),
    FIELDS(400, "X: a\r\r"),

    /* Host */
    FIELDS(400, "Host: a"),
    FIELDS(400, "host: b"),
    FIELDS(400, "X: y\r\nHOST: a"),
    OK("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1.1 none keep |Host="),

    /* Content-Length: one, digits */
    FIELD("Content-Length", " 0", "GET / 1.1 length:0 keep |Host=a|Content-Length=0"),
    FIELD("content-length", "12 ", "GET / 1.1 length:12 keep |Host=a|content-length=12"),
    FIELD("CONTENT-LENGTH", "007", "GET / 1.1 length:7 keep |Host=a|CONTENT-LENGTH=007"),
    FIELD("Content-Length", "9223372036854775807",
          "GET / 1.1 length:9223372036854775807 keep |Host=a|Content-Length=9223372036854775807"),
    FIELDS(400, "Content-Length: 9223372036854775808"),
    FIELDS(400, "Content-Length: 18446744073709551617"),
    FIELDS(400, "Content-Length: 99999999999999999999999999999"),
    FIELDS(400, "Content-Length:"),
    FIELDS(400, "Content-Length: "),
    FIELDS(400, "Content-Length: -1"),
    FIELDS(400, "Content-Length: +3"),
    FIELDS(400, "Content-Length: 3 3"),
    FIELDS(400, "Content-Length: 3,3"),
    FIELDS(400, "Content-Length: 3, 3"),
    FIELDS(400, "Content-Length: 3,4"),
    FIELDS(400, "Content-Length: 3;"),
    FIELDS(400, "Content-Length: 0x3"),
    FIELDS(400, "Content-Length: 3.0"),
    FIELDS(400, "Content-Length: 3e1"),
    FIELDS(400, "Content-Length: \"3\""),
    FIELDS(400, "Content-Length: \xb2"),
    FIELDS(400, "Content-Length: three"),
    FIELDS(400, "Content-Length: 3\r\nContent-Length: 3"),
    FIELDS(400, "Content-Length: 3\r\nX: y\r\ncontent-length: 4"),

    /* Transfer-Encoding: one, "chunked" */
    FIELD("Transfer-Encoding", " chunked",
          "GET / 1.1 chunked keep |Host=a|Transfer-Encoding=chunked"),
    FIELD("transfer-encoding", "ChunKED\t",
          "GET / 1.1 chunked keep |Host=a|transfer-encoding=ChunKED"),
    FIELDS(400, "Transfer-Encoding:"),
    FIELDS(400, "Transfer-Encoding: ,"),
    FIELDS(400, "Transfer-Encoding: chunked,"),
    FIELDS(400, "Transfer-Encoding: ,chunked"),
    FIELDS(400, "Transfer-Encoding: chunked, chunked"),
    FIELDS(400, "Transfer-Encoding: chunked, gzip"),
    FIELDS(400, "Transfer-Encoding: chunked, identity"),
    FIELDS(400, "Transfer-Encoding: gzip, chunked, chunked"),
    FIELDS(400, "Transfer-Encoding: chunked;q=1"),
    FIELDS(400, "Transfer-Encoding: chunked ; a"),
    FIELDS(400, "Transfer-Encoding: gzip, chunked;q=1"),
    FIELDS(400, "Transfer-Encoding: \x0b" "chunked"),
    FIELDS(400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    FIELDS(400, "Transfer-Encoding: chunked\r\ntransfer-encoding: identity"),
    FIELDS(400, "Transfer-Encoding: chunked\r\n chunked"),
    FIELDS(400, "Transfer-Encoding: chunked\r\nContent-Length: 3"),
    FIELDS(400, "Content-Length: 3\r\nTransfer-Encoding: chunked"),
    FIELDS(400, "Content-Length: 0\r\nX: y\r\nTransfer-Encoding: gzip"),
    FIELDS(501, "Transfer-Encoding: gzip, chunked"),
    FIELDS(501, "Transfer-Encoding: x, y, chunked"),
    FIELDS(501, "Transfer-Encoding: gzip"),
    FIELDS(501, "Transfer-Encoding: identity"),
    FIELDS(501, "Transfer-Encoding: gzip, deflate"),
    FIELDS(501, "Transfer-Encoding: xchunked"),
    FIELDS(501, "Transfer-Encoding: chunkedx"),
    FIELDS(501, "Transfer-Encoding: \"chunked\""),
    FIELDS(501, "Transfer-Encoding: chunked chunked"),
    FIELDS(501, "Transfer-Encoding: cow"),
    NO(400, GET10 "Transfer-Encoding: chunked\r\n\r\n"),
    NO(400, GET10 "Transfer-Encoding: gzip\r\n\r\n"),

    /* Connection (RFC 9112 9.3) */
    FIELD("Connection", "close", "GET / 1.1 none close |Host=a|Connection=close"),
    FIELD("Connection", "CLOSE", "GET / 1.1 none close |Host=a|Connection=CLOSE"),
    FIELD("Connection", "keep-alive", "GET / 1.1 none keep |Host=a|Connection=keep-alive"),
    FIELD("Connection", "x, close , y", "GET / 1.1 none close |Host=a|Connection=x, close , y"),
    FIELD("Connection", "closed", "GET / 1.1 none keep |Host=a|Connection=closed"),
    FIELD("Connection", "\"close\"", "GET / 1.1 none keep |Host=a|Connection=\"close\""),
    FIELD("Connection", "x\r\nConnection: close",
          "GET / 1.1 none close |Host=a|Connection=x|Connection=close"),
    FIELD("Connection", "close, keep-alive",
          "GET / 1.1 none close |Host=a|Connection=close, keep-alive"),
    OK(GET10 END, "GET / 1.0 none close |Host=a"),
    OK(GET10 "Connection: Keep-Alive\r\n\r\n",
       "GET / 1.0 none keep |Host=a|Connection=Keep-Alive"),
    OK(GET10 "Connection: x, Keep-Alive\r\n\r\n",
       "GET / 1.0 none keep |Host=a|Connection=x, Keep-Alive"),
    OK(GET10 "Connection: keep-alive\r\nConnection: close\r\n\r\n",
       "GET / 1.0 none close |Host=a|Connection=keep-alive|Connection=close"),
    OK(GET10 "Proxy-Connection: keep-alive\r\n\r\n",
       "GET / 1.0 none close |Host=a|Proxy-Connection=keep-alive"),

    /* not there yet */
    MORE(""),
    MORE("\r"),
    MORE("G"),
    MORE("GET"),
    MORE("GET "),
    MORE("GET /"),
    MORE("GET / "),
    MORE("GET / HTTP"),
    MORE("GET / HTTP/1.1"),
    MORE("GET / HTTP/1.1\r"),
    MORE("GET / HTTP/1.1\r\n"),
    MORE(GET),
    MORE(GET "\r"),
    MORE(GET "X"),
    MORE(GET "X:"),
    MORE(GET "X: y"),
    MORE(GET "X: y\r"),
    MORE(GET "X: y\r\n"),
};

#define ORIGIN "HTTP/1.1 200 OK\r\n"
#define FROM(fields) ORIGIN fields "\r\n" END

static const struct row responses[] = {
    OK(ORIGIN END, "200 [OK] 1.1 close keep"),
    OK("HTTP/1.0 404 Not Found\r\n\r\n", "404 [Not Found] 1.0 close close"),
    OK("HTTP/1.1 200\r\n\r\n", "200 [] 1.1 close keep"),
    OK("HTTP/1.1 200 \r\n\r\n", "200 [] 1.1 close keep"),
    OK("HTTP/1.1 200  a\tb \xe4 \r\n\r\n", "200 [ a\tb \xe4 ] 1.1 close keep"),
    OK("HTTP/1.3 204 x\r\n\r\n", "204 [x] 1.1 close keep"),
    OK("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "100 [Continue] 1.1 close keep"),
    OK("HTTP/1.1 599 x\r\n\r\n", "599 [x] 1.1 close keep"),
    OK(FROM("Content-Length: 5") "hello", "200 [OK] 1.1 length:5 keep|Content-Length=5"),
    OK(FROM("Transfer-Encoding: chunked"), "200 [OK] 1.1 chunked keep|Transfer-Encoding=chunked"),
    OK(FROM("Connection: close"), "200 [OK] 1.1 close close|Connection=close"),
    OK("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
       "200 [OK] 1.0 length:0 keep|Connection=keep-alive|Content-Length=0"),
    OK(FROM("Host: a\r\nHost: b"), "200 [OK] 1.1 close keep|Host=a|Host=b"),

    NO(502, "HTTP/1.1 099 x\r\n\r\n"),
    NO(502, "HTTP/1.1 600 x\r\n\r\n"),
    NO(502, "HTTP/1.1 999 x\r\n\r\n"),
    NO(502, "HTTP/1.1 20 x\r\n\r\n"),
    NO(502, "HTTP/1.1 2000 x\r\n\r\n"),
    NO(502, "HTTP/1.1 2a0 x\r\n\r\n"),
    NO(502, "HTTP/1.1 +20 x\r\n\r\n"),
    NO(502, "HTTP/1.1  200 OK\r\n\r\n"),
    NO(502, "HTTP/1.1\t200 OK\r\n\r\n"),
    NO(502, "HTTP/1.1 200\tOK\r\n\r\n"),
    NO(502, "HTTP/1.1 200OK\r\n\r\n"),
    NO(502, "HTTP/1.1\r\n\r\n"),
    NO(502, "HTTP/1.1 \r\n\r\n"),
    NO(502, "HTTP/2.0 200 OK\r\n\r\n"),
    NO(502, "HTTP/0.9 200 OK\r\n\r\n"),
    NO(502, "HTTP/11 200 OK\r\n\r\n"),
    NO(502, "HTTP/1.10 200 OK\r\n\r\n"),
    NO(502, "http/1.1 200 OK\r\n\r\n"),
    NO(502, "ICY 200 OK\r\n\r\n"),
    NO(502, "<html>"),
    NO(502, "\r\nHTTP/1.1 200 OK\r\n\r\n"),
    NO(502, "\nHTTP/1.1 200 OK\r\n\r\n"),
    NO(502, " HTTP/1.1 200 OK\r\n\r\n"),
    NO(502, "HTTP/1.1 200 OK\n\r\n"),
    NO(502, "HTTP/1.1 200 OK\r\r\n\r\n"),
    NO(502, "HTTP/1.1 200 O\rK\r\n\r\n"),
    NO(502, "HTTP/1.1 200\n\r\n"),
    NO(502, "HTTP/1.1 200\rX\r\n\r\n"),
    NO(502, "HTTP/1.1 200 O\0K\r\n\r\n"),
    NO(502, "HTTP/1.1 200 O\x1b\r\n\r\n"),
    NO(502, "HTTP/1.1 200 O\x7f\r\n\r\n"),
    NO(502, FROM("X : y")),
    NO(502, FROM(" X: y")),
    NO(502, FROM("X: y\r\n z")),
    NO(502, FROM("X: y\0")),
    NO(502, FROM("X: y\nZ: a")),
    NO(502, FROM(": y")),
    NO(502, FROM("X")),
    NO(502, ORIGIN "X: y\r\n\n"),
    NO(502, FROM("Content-Length: 5\r\nContent-Length: 5")),
    NO(502, FROM("Content-Length: 5, 5")),
    NO(502, FROM("Content-Length: -5")),
    NO(502, FROM("Content-Length: 5\r\nTransfer-Encoding: chunked")),
    NO(502, FROM("Transfer-Encoding: chunked\r\nContent-Length: 5")),
    NO(502, FROM("Transfer-Encoding: gzip, chunked")),
    NO(502, FROM("Transfer-Encoding: gzip")),
    NO(502, FROM("Transfer-Encoding: chunked, chunked")),
    NO(502, FROM("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
    NO(502, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),

    MORE(""),
    MORE("HTTP/1."),
    MORE("HTTP/1.1 200"),
    MORE("HTTP/1.1 200\r"),
    MORE("HTTP/1.1 200 OK"),
    MORE("HTTP/1.1 200 OK\r"),
    MORE(ORIGIN),
    MORE(ORIGIN "\r"),
    MORE(ORIGIN "X: y"),
};

/* Under these: a request line of 20, a field line of 16, 40 of all lines, 4 lines. */
static const struct h1_limits tight = {20, 16, 40, 4};

static const struct row limited[] = {
    OK("GET /345678 HTTP/1.1\r\n\r\n", "GET /345678 1.1 none keep nohost"),
    NO(414, "GET /3456789 HTTP/1.1\r\n\r\n"),
    NO(414, "GET /3456789 "),
    MORE("GET /3456789"),
    MORE("GET /34567890123456"),
    MORE("GET /345678901234567"),
    NO(414, "GET /3456789012345678"),
    NO(414, "GET /345678901234567\0"),
    NO(400, "GET /345678901234567\r"),
    NO(400, "GET /34567890123456\0"),
    NO(414, "GET /34567890123456789012345678901234567890"),
    MORE("AAAAAAAAAAAAAAAAAAAA"),
    NO(414, "AAAAAAAAAAAAAAAAAAAAA"),
    NO(414, "AAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n"),
    NO(400, "AAAAAAAAAAAAAAAAAAAA\r"),
    /* empty lines before it are not its own */
    OK("\r\n\r\nGET /345678 HTTP/1.1\r\n\r\n", "GET /345678 1.1 none keep nohost"),
    NO(414, "\r\nGET /3456789 HTTP/1.1\r\n\r\n"),
};

static const struct h1_limits roomy = {8192, 8192, 32768, 100};

struct text {
    char *p;
    size_t n;
};

static void __attribute__((format(printf, 2, 3)))
say(struct text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    t->n += (size_t)vsnprintf(t->p + t->n, 8192 - t->n, fmt, ap);
    va_end(ap);
    ck_assert_uint_lt(t->n, 8192);
}

static void
show(struct text *t, const struct h1_head *h)
{
    static const char *framings[] = {"none", "length:", "chunked", "close"};

    if (h->status != 0)
        say(t, "%d [%.*s]", h->status, STR_ARG(h->reason));
    else
        say(t, "%.*s %.*s", STR_ARG(h->method), STR_ARG(h->target));
    say(t, " 1.%d %s", h->minor, framings[h->framing]);
    if (h->framing == H1_LENGTH)
        say(t, "%lld", (long long)h->content_length);
    say(t, h->keep_alive ? " keep" : " close");
    if (h->status == 0)
        say(t, h->host_seen ? " " : " nohost");
    for (size_t i = 0; i < h->fields->n; i++)
        say(t, "|%.*s=%.*s", STR_ARG(h->fields->v[i].name), STR_ARG(h->fields->v[i].value));
}

struct feed {
    int (*parse)(struct h1_head *h, const char *buf, size_t n);
    struct arena *arena;
    struct fields fields;
    struct h1_head head;
    char *buf;                  /* exactly what was fed */
    size_t n;
    int got;
};

static void
begin(struct feed *f, int (*parse)(struct h1_head *, const char *, size_t),
      const struct h1_limits *limits)
{
    *f = (struct feed){.parse = parse, .arena = arena_new(), .buf = malloc(1)};
    fields_init(&f->fields, f->arena);
    h1_head_init(&f->head, &f->fields, limits);
}

static void
feed_up_to(struct feed *f, const char *text, size_t n)
{
    char *moved;

    if (f->got != H1_MORE)
        return;
    moved = malloc(n > 0 ? n : 1);
    memcpy(moved, text, n);
    h1_head_moved(&f->head, f->buf, f->n, moved);
    free(f->buf);
    f->buf = moved;
    f->n = n;
    f->got = f->parse(&f->head, moved, n);
}

static void
end(struct feed *f, struct text *t)
{
    t->n = 0;
    t->p[0] = '\0';
    if (f->got == H1_DONE)
        show(t, &f->head);
    arena_free(f->arena);
    free(f->buf);
}

/* Where the head ends: behind its empty line, which only a body can follow in the tables. */
static size_t
head_size(const struct row *row)
{
    size_t from = 0;
    const char *blank;

    while (strncmp(row->text + from, "\r\n", 2) == 0)
        from += 2;
    blank = strstr(row->text + from, "\r\n\r\n");
    return (size_t)(blank - row->text) + 4;
}

static void
check_row(const struct row *row, int (*parse)(struct h1_head *, const char *, size_t),
          const struct h1_limits *limits)
{
    char whole_text[8192], split_text[8192];
    struct text whole = {whole_text, 0}, split = {split_text, 0};
    struct feed f;

    begin(&f, parse, limits);
    feed_up_to(&f, row->text, row->n);
    if (f.got != row->got)
        ck_abort_msg("%d, not %d: %s", f.got, row->got, row->text);
    if (f.got == H1_DONE)
        ck_assert_uint_eq(f.head.size, head_size(row));
    end(&f, &whole);
    if (row->want != NULL)
        ck_assert_str_eq(whole.p, row->want);

    /* cut at i; i == n is byte by byte */
    for (size_t i = 0; i <= row->n; i++) {
        begin(&f, parse, limits);
        for (size_t n = i < row->n ? i : 0; n < row->n; n += i < row->n ? row->n : 1)
            feed_up_to(&f, row->text, n);
        feed_up_to(&f, row->text, row->n);
        if (f.got != row->got)
            ck_abort_msg("%d, not %d, when cut at %zu: %s", f.got, row->got, i, row->text);
        end(&f, &split);
        ck_assert_str_eq(split.p, whole.p);
    }
}

static void
check_table(const struct row *rows, size_t n, int (*parse)(struct h1_head *, const char *, size_t),
            const struct h1_limits *limits, int level)
{
    if (scan_init(level) != (enum scan_level)level)
        return;
    for (size_t i = 0; i < n; i++)
        check_row(&rows[i], parse, limits);
}

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

START_TEST(requests_are_read)
{
    check_table(requests, COUNT(requests), h1_parse_request, &roomy, _i);
}
END_TEST

START_TEST(responses_are_read)
{
    check_table(responses, COUNT(responses), h1_parse_response, &roomy, _i);
}
END_TEST

START_TEST(long_request_lines_are_414)
{
    check_table(limited, COUNT(limited), h1_parse_request, &tight, _i);
}
END_TEST

/* One byte more than each limit, and exactly at it. */
START_TEST(limits_hold_to_the_byte)
{
    static const struct row rows[] = {
        OK("A / HTTP/1.1\r\nX:34567890123456\r\n\r\n", "A / 1.1 none keep nohost|X=34567890123456"),
        NO(431, "A / HTTP/1.1\r\nX:345678901234567\r\n\r\n"),
        NO(431, "A / HTTP/1.1\r\nX:345678901234567"),
        MORE("A / HTTP/1.1\r\nX:34567890123456"),
        NO(431, "A / HTTP/1.1\r\nX:34567890123456\0"),
        NO(400, "A / HTTP/1.1\r\nX:3456789012345\0"),
        NO(400, "A / HTTP/1.1\r\nX:34567890123456\rY"),
        NO(431, "A / HTTP/1.1\r\nXXXXXXXXXXXXXXXXX"),
        MORE("A / HTTP/1.1\r\nXXXXXXXXXXXXXXXX"),
        NO(431, "A / HTTP/1.1\r\nXXXXXXXXXXXXXXXX:"),
        NO(400, "A / HTTP/1.1\r\nXXXXXXXXXXXXXXXX\r"),
        NO(431, "A / HTTP/1.1\r\nX:34567890123456\r\nX:34567890123456\r\nX:3456789\r\n\r\n"),
        NO(431, "A / HTTP/1.1\r\nX:34567890123456\r\nX:34567890123456\r\nX:3456789"),
        MORE("A / HTTP/1.1\r\nX:34567890123456\r\nX:34567890123456\r\nX:345678"),
        NO(431, "A / HTTP/1.1\r\nX:34567890123456\r\nX:34567890123456\r\nX:345678\r\nY"),
        NO(431, "A / HTTP/1.1\r\nX:\r\nX:\r\nX:\r\nX:\r\nX"),
        MORE("A / HTTP/1.1\r\nX:\r\nX:\r\nX:\r\nX:\r\n"),
    };

    if (scan_init(_i) != (enum scan_level)_i)
        return;
    for (size_t i = 0; i < COUNT(rows); i++)
        check_row(&rows[i], h1_parse_request, &tight);
}
END_TEST

START_TEST(limits_of_a_response_are_502)
{
    static const struct row rows[] = {
        OK("HTTP/1.1 200 1234567\r\nX:34567890123456\r\n\r\n",
           "200 [1234567] 1.1 close keep|X=34567890123456"),
        NO(502, "HTTP/1.1 200 12345678\r\n\r\n"),
        NO(502, "HTTP/1.1 200 12345678"),
        MORE("HTTP/1.1 200 1234567"),
        NO(502, "HTTP/1.1 200 OK\r\nX:345678901234567"),
        NO(502, "HTTP/1.1 200 OK\r\nX:\r\nX:\r\nX:\r\nX:\r\nX"),
    };

    if (scan_init(_i) != (enum scan_level)_i)
        return;
    for (size_t i = 0; i < COUNT(rows); i++)
        check_row(&rows[i], h1_parse_response, &tight);
}
END_TEST

START_TEST(ids_are_found)
{
    struct feed f;

    begin(&f, h1_parse_request, &roomy);
    feed_up_to(&f, GET "x-Forwarded-FOR: 1\r\n\r\n", sizeof(GET "x-Forwarded-FOR: 1\r\n\r\n") - 1);
    ck_assert_int_eq(f.got, H1_DONE);
    ck_assert_int_eq(f.fields.v[0].id, FIELD_HOST);
    ck_assert_int_eq(f.fields.v[1].id, FIELD_X_FORWARDED_FOR);
    ck_assert(str_eq(fields_value(&f.fields, FIELD_X_FORWARDED_FOR), STR("1")));
    arena_free(f.arena);
    free(f.buf);
}
END_TEST

/* Slices into other memory stay where they are. */
START_TEST(a_move_takes_only_its_own_along)
{
    static const char text[] = "GET /a HTTP/1.1\r\nHost: b\r\nEmpty:\r\n\r\n";
    char here[sizeof(text)], there[sizeof(text)];
    struct arena *a = arena_new();
    struct fields f;
    struct h1_head h;

    memcpy(here, text, sizeof(text));
    fields_init(&f, a);
    h1_head_init(&h, &f, &roomy);
    ck_assert_int_eq(h1_parse_request(&h, here, sizeof(text) - 1), H1_DONE);
    fields_add(&f, STR("Via"), STR("x"));
    fields_add(&f, STR("Gone"), STR_NONE);
    memcpy(there, text, sizeof(text));
    h1_head_moved(&h, here, sizeof(text) - 1, there);
    memset(here, '?', sizeof(here));
    ck_assert(str_eq(h.method, STR("GET")));
    ck_assert(str_eq(h.target, STR("/a")));
    ck_assert(str_eq(f.v[0].name, STR("Host")));
    ck_assert(str_eq(f.v[0].value, STR("b")));
    ck_assert_ptr_nonnull(f.v[1].value.p);
    ck_assert(str_eq(f.v[2].name, STR("Via")));
    ck_assert_ptr_null(f.v[3].value.p);
    arena_free(a);
}
END_TEST

static double
seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seconds for a head whose token is n bytes long and comes byte by byte. */
static double
drip(const char *before, size_t n)
{
    static const struct h1_limits huge = {1 << 24, 1 << 24, 1 << 24, 100};
    size_t from = strlen(before);
    char *buf = malloc(from + n);
    struct arena *a = arena_new();
    struct fields f;
    struct h1_head h;
    double start = seconds();

    memcpy(buf, before, from);
    memset(buf + from, 'a', n);
    fields_init(&f, a);
    h1_head_init(&h, &f, &huge);
    for (size_t i = 1; i <= from + n; i++)
        if (h1_parse_request(&h, buf, i) != H1_MORE)
            ck_abort_msg("not H1_MORE at byte %zu", i);
    arena_free(a);
    free(buf);
    return seconds() - start;
}

/* Were it quadratic, a million bytes would take minutes. */
START_TEST(dripping_bytes_cost_no_more)
{
    scan_init(SCAN_PORTABLE);
    ck_assert(drip("", 1 << 20) < 5);
    ck_assert(drip("GET ", 1 << 20) < 5);
    ck_assert(drip(GET, 1 << 20) < 5);
    ck_assert(drip(GET "X: ", 1 << 20) < 5);
}
END_TEST

START_TEST(single_field_lines)
{
    static const struct { struct str line; int status; const char *name, *value; } rows[] = {
        {STR("A: b"), 0, "A", "b"},
        {STR("A:"), 0, "A", ""},
        {STR("A:\t b c \t"), 0, "A", "b c"},
        {STR(""), 400, NULL, NULL},
        {STR("A"), 400, NULL, NULL},
        {STR(":"), 400, NULL, NULL},
        {STR("A : b"), 400, NULL, NULL},
        {STR(" A: b"), 400, NULL, NULL},
        {STR("A: b\r"), 400, NULL, NULL},
        {STR("A: b\n"), 400, NULL, NULL},
        {STR("A: \0"), 400, NULL, NULL},
    };
    struct arena *a = arena_new();
    struct fields f;

    fields_init(&f, a);
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *line = malloc(rows[i].line.n + 1);

        memcpy(line, rows[i].line.p, rows[i].line.n);
        ck_assert_int_eq(h1_parse_field(&f, line, rows[i].line.n), rows[i].status);
        if (rows[i].status == 0) {
            ck_assert(str_eq(f.v[f.n - 1].name, str_of(rows[i].name)));
            ck_assert(str_eq(f.v[f.n - 1].value, str_of(rows[i].value)));
        }
        free(line);
    }
    ck_assert_uint_eq(f.n, 3);
    arena_free(a);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("parse");
    TCase *t = tcase_create("parse");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, requests_are_read, 0, LEVELS);
    tcase_add_loop_test(t, responses_are_read, 0, LEVELS);
    tcase_add_loop_test(t, long_request_lines_are_414, 0, LEVELS);
    tcase_add_loop_test(t, limits_hold_to_the_byte, 0, LEVELS);
    tcase_add_loop_test(t, limits_of_a_response_are_502, 0, LEVELS);
    tcase_add_test(t, ids_are_found);
    tcase_add_test(t, a_move_takes_only_its_own_along);
    tcase_add_test(t, dripping_bytes_cost_no_more);
    tcase_add_test(t, single_field_lines);
    return unit_run(s);
}
