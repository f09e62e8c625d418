/*
 * Knows how a question becomes a request: bytes as a client would send them, parsed by the parser that
 * reads clients, with a front of its own that prints where the other one sends. What the path does with it
 * is told by trace.h; only the listener, the head and the outcome are told here.
 *
 * The process stands for a worker: it has a row of counters that nobody reads, logs that lead nowhere, and
 * a loop that never waits.
 */
#include "master/explain.h"

#include <stdio.h>
#include <stdlib.h>

#include "master/explain_show.h"
#include "worker/answer.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/base/scan.h"
#include "worker/front.h"
#include "worker/h1/parse.h"
#include "worker/h1/write.h"
#include "worker/logs.h"
#include "worker/pipeline.h"
#include "worker/route.h"
#include "worker/state.h"
#include "worker/tls/facts.h"
#include "worker/trace.h"

struct explanation {
    struct trace trace;
    struct request *r;
    const struct conf *conf;
    const struct ask *ask;
    struct tls_facts tls;       /* of a handshake that is taken to have been */
    bool proxied;
    bool over;
};

/* What the URL says. */
struct where {
    struct str scheme;          /* empty: a target alone */
    struct str authority;
    struct str target;
    struct host host;           /* of the Host field; name empty: none that is good */
};

/* --- output --- */

/* What comes from the command line or the file must do nothing to the terminal. */
static void
print_escaped(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text >= 0x20 && *text < 0x7F)
            putchar(*text);
        else
            printf("\\x%02X", (unsigned char)*text);
}

static void
print_place(const struct conf *conf, int line)
{
    print_escaped(conf->file.p);
    printf(":%d: ", line);
}

/* What no line says is told of what it belongs to. */
static void
say(struct trace *t, int line, const char *text)
{
    struct explanation *e = (struct explanation *)t;

    print_place(e->conf, line != 0 ? line : show_place(e->r));
    printf("%-7s  ", t->phase);
    print_escaped(text);
    putchar('\n');
}

/* --- the question --- */

static bool
is_header(const char *header, const char *name)
{
    size_t n = strlen(name);

    return strncasecmp(header, name, n) == 0 && header[n] == ':';
}

/* The last of that name; NULL: none. */
static const char *
header_of(const struct ask *ask, const char *name)
{
    for (size_t i = ask->header_count; i-- > 0;)
        if (is_header(ask->headers[i], name))
            return ask->headers[i] + strlen(name) + 1;
    return NULL;
}

const char *
explain_refuses(const struct ask *ask)
{
    struct ip ip;

    if (ask->method[0] == '\0' || ask->url[0] == '\0')
        return "-T wants a method and a URL";
    if (strchr(ask->method, '\n') != NULL || strchr(ask->url, '\n') != NULL)
        return "-T: a method or a URL has no line break";
    for (size_t i = 0; i < ask->header_count; i++)
        if (strchr(ask->headers[i], ':') == NULL || strchr(ask->headers[i], '\n') != NULL)
            return "-H wants `Name: value`, one line";
    if (ask->from != NULL && strcmp(ask->from, "unix") != 0 && !ip_parse(&ip, str_of(ask->from)))
        return "--from wants an address, or unix";
    return NULL;
}

static bool
has_scheme(struct str url, const char *scheme)
{
    size_t n = strlen(scheme);

    return url.n >= n + 3 && strncasecmp(url.p, scheme, n) == 0 && strncmp(url.p + n, "://", 3) == 0;
}

/* An absolute URL is taken apart as a client does it; any other is the target, byte for byte. */
static void
take_apart(struct where *w, const struct ask *ask, struct arena *a)
{
    struct str url = str_of(ask->url);
    const char *host = header_of(ask, "Host");
    size_t n = has_scheme(url, "https") ? 5 : has_scheme(url, "http") ? 4 : 0;

    *w = (struct where){.target = url};
    if (n > 0) {
        w->scheme = n == 5 ? STR("https") : STR("http");
        w->authority.p = url.p + n + 3;
        w->authority.n = strcspn(w->authority.p, "/?#");
        w->target = str_of(w->authority.p + w->authority.n);
        if (w->target.n == 0 || w->target.p[0] != '/')
            w->target = arena_printf(a, "/%.*s", STR_ARG(w->target));
    }
    if (host_parse(&w->host, host != NULL ? str_trim(str_of(host)) : w->authority, a) != 0)
        w->host = (struct host){.port = -1};
}

/* The port that a client would connect to; -1: the URL says nothing of it. */
static int
port_of(const struct where *w, struct arena *a)
{
    struct host host;

    if (w->scheme.n == 0 || host_parse(&host, w->authority, a) != 0)
        return -1;
    return host.port >= 0 ? host.port : w->scheme.n == 5 ? 443 : 80;
}

/* --- the listener --- */

static const struct listener *
find_named(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->listener_count; i++)
        if (str_eq(conf->listeners[i].name, str_of(name)) || str_eq(conf->listeners[i].text, str_of(name)))
            return &conf->listeners[i];
    return NULL;
}

/* What has no scheme may come in anywhere. */
static bool
speaks(const struct listener *l, const struct where *w)
{
    return w->scheme.n == 0 || l->tls.on == (w->scheme.n == 5);
}

static const struct listener *
find_port(const struct conf *conf, int port)
{
    for (size_t i = 0; i < conf->listener_count; i++)
        if (conf->listeners[i].address.ip.family != AF_UNIX && conf->listeners[i].address.port == port)
            return &conf->listeners[i];
    return NULL;
}

/* Where nothing says which: the first on which the host has a site, else the first; one of the URL's scheme, if any. */
static const struct listener *
guess(const struct conf *conf, const struct where *w)
{
    const struct listener *hosted = NULL, *any = NULL;

    for (size_t i = conf->listener_count; i-- > 0;) {
        const struct listener *l = &conf->listeners[i];
        bool has_site = w->host.name.n > 0 && site_find(l->sites, w->host.name) != NULL;

        if (has_site && (hosted == NULL || speaks(l, w) || !speaks(hosted, w)))
            hosted = l;
        if (any == NULL || speaks(l, w) || !speaks(any, w))
            any = l;
    }
    return hosted != NULL ? hosted : any;
}

static const struct listener *
choose(const struct explanation *e, const struct where *w, int port, bool *guessed)
{
    const struct listener *l = NULL;

    if (e->ask->listen != NULL)
        return find_named(e->conf, e->ask->listen);
    if (port >= 0)
        l = find_port(e->conf, port);
    *guessed = l == NULL;
    return l != NULL ? l : guess(e->conf, w);
}

static void
tell_tls(struct request *r, const struct where *w)
{
    const struct listener *l = r->listener;

    if (w->scheme.n == 4)
        trace(r, l->line, "it takes TLS alone: http:// gets a 400 here; the request is taken to come over TLS");
    if (r->tls->sni.n > 0)
        trace(r, l->line, "TLS: a handshake of TLS 1.3 for the name %.*s is taken to have been", STR_ARG(r->tls->sni));
    else
        trace(r, l->line, "TLS: a handshake of TLS 1.3 without a name is taken to have been");
    if (l->tls.client_verify != CLIENT_VERIFY_NONE)
        trace(r, l->line, "$client_verify is taken to be %.*s", STR_ARG(r->tls->verify));
}

static void
tell_listener(struct request *r, const struct explanation *e, const struct where *w, int port, bool guessed)
{
    const struct listener *l = r->listener;

    if (!guessed)
        trace(r, l->line, "listener %.*s", STR_ARG(l->text));
    else if (port >= 0)
        trace(r, l->line, "listener %.*s: assumed, as none has port %d", STR_ARG(l->text), port);
    else
        trace(r, l->line, "listener %.*s: assumed, as the URL names none", STR_ARG(l->text));
    if (w->scheme.n == 5 && !l->tls.on)
        trace(r, l->line, "it takes no TLS: the request is taken to come in plain, and $scheme is http unless a "
              "trusted proxy says https");
    if (l->tls.on)
        tell_tls(r, w);
    if (e->ask->from == NULL && r->peer.family != 0)
        trace(r, l->line, "from 127.0.0.1: assumed, as there is no --from");
    if (l->proxy_protocol)
        trace(r, l->line, "proxy_protocol: that is the address which the PROXY header carries");
}

/* --- the request --- */

static struct str
head_text(const struct ask *ask, const struct where *w, struct arena *a)
{
    struct str text = arena_printf(a, "%s %.*s HTTP/1.1\r\n", ask->method, STR_ARG(w->target));

    if (w->authority.n > 0 && header_of(ask, "Host") == NULL)
        text = arena_printf(a, "%.*sHost: %.*s\r\n", STR_ARG(text), STR_ARG(w->authority));
    for (size_t i = 0; i < ask->header_count; i++)
        text = arena_printf(a, "%.*s%s\r\n", STR_ARG(text), ask->headers[i]);
    return arena_printf(a, "%.*s\r\n", STR_ARG(text));
}

/* The line of the head at which the parser gave up is the one to be blamed. */
static void
tell_refused(struct request *r, int status, struct str line)
{
    const int *lines = r->scope->policy_lines;

    if (status == 414)
        trace(r, lines[POLICY_LINE(limits.request_line)], "414: the request line is longer than limits.request_line");
    else if (status == 431)
        trace(r, lines[POLICY_LINE(limits.request_headers)], "431: longer or more than limits.request_header, "
              "request_headers and request_header_count let through: %.*s", STR_ARG(line));
    else if (line.n == 0)
        trace(r, r->listener->line, "%d: what the head says of the content's framing is refused", status);
    else
        trace(r, r->listener->line, "%d: the head is refused at this line: %.*s", status, STR_ARG(line));
}

/* Line by line, as it might come from a slow client: the answer is the same. */
static int
parse(struct request *r, struct h1_head *head, struct str text)
{
    size_t from = 0, to = 0;
    int result = H1_MORE;

    while (result == H1_MORE) {
        const char *end = memchr(text.p + to, '\n', text.n - to);

        check(end != NULL);
        from = to;
        to = (size_t)(end - text.p) + 1;
        result = h1_parse_request(head, text.p, to);
    }
    r->method_text = head->method;
    r->target = head->target;
    r->minor = head->minor;
    r->protocol = r->minor == 0 ? STR("HTTP/1.0") : STR("HTTP/1.1");
    if (result == H1_DONE)
        return 0;
    r->minor = 1;
    tell_refused(r, result, (struct str){text.p + from, to - from - 2});
    return result;
}

/* Content is taken to have come already, but where Expect says that the client waits with it. */
static void
set_content(struct request *r, const struct h1_head *head)
{
    bool waits = fields_find_id(&r->request.fields, FIELD_EXPECT) != NULL;

    r->close = !head->keep_alive;
    r->request.length = head->framing == H1_LENGTH    ? head->content_length
                        : head->framing == H1_CHUNKED ? LENGTH_UNKNOWN
                                                      : 0;
    r->request.body.ended = r->request.length == 0 || !waits;
}

static struct h1_limits
head_limits(const struct conf *conf)
{
    const struct limits *l = &conf->scope.policy.limits;

    return (struct h1_limits){.line = l->request_line, .field = l->request_header, .fields = l->request_headers,
                              .count = (size_t)l->request_header_count};
}

static void
run(struct request *r, struct str text)
{
    struct h1_limits limits = head_limits(r->conf);
    struct h1_head *head = arena_alloc(r->arena, sizeof *head);
    int status;

    h1_head_init(head, &r->request.fields, &limits);
    status = parse(r, head, text);
    if (status != 0) {
        r->trace->by = r->trace->phase;
        pipeline_refuse(r, status);
        return;
    }
    set_content(r, head);
    pipeline_start(r);
}

/* --- the front --- */

static void
show_edits(struct request *r)
{
    const struct fields *f = &r->response.fields;
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].gone && n++ == 0)
            trace(r, show_place(r), "the origin's response, and what weir adds to it:");
    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].gone)
            trace(r, show_place(r), "  < %.*s: %.*s", STR_ARG(f->v[i].name), STR_ARG(f->v[i].value));
    if (n == 0)
        trace(r, show_place(r), "the origin's response, without its hop-by-hop fields");
}

static void
send_response(struct request *r)
{
    struct explanation *e = r->front_state;
    struct h1_writer w;

    r->trace->phase = "SEND";
    e->over = true;
    if (e->proxied && r->source != NULL && r->status == 200) {
        show_edits(r);
    } else {
        e->proxied = false;
        h1_write_init(&w);
        h1_write_response(&w, r, r->close || !r->request.body.ended);
        show_head(r, show_place(r), "<", &w);
        h1_write_clear(&w);
        if (!r->no_content)
            show_content(r);
    }
    r->trace->phase = "LOG";
    pipeline_sent(r);
}

static void
ignore(struct request *r)
{
    (void)r;
}

static void
ignore_interim(struct request *r, int status)
{
    (void)r;
    (void)status;
}

static const struct front front = {
    .name = "explanation",
    .interim = ignore_interim,
    .send = send_response,
    .receive = ignore,
    .cut = ignore,
};

/* --- the origin --- */

/* In the origin's place: what it would get is shown, and it is taken to answer with nothing of its own. */
static int
ask_origin(struct trace *t, struct request *r)
{
    struct explanation *e = (struct explanation *)t;
    struct h1_writer w;

    show_upstream(r);
    trace(r, r->route->line, "the request that it gets:");
    h1_write_init(&w);
    h1_write_request(&w, r, true);
    show_head(r, r->route->line, ">", &w);
    h1_write_clear(&w);
    if (r->wants_upgrade)
        trace(r, r->route->line, "a WebSocket, where the origin agrees");
    e->proxied = true;
    answer(r, 200, STR_NONE, STR_NONE);
    return HOOK_ANSWER;
}

/* --- the whole --- */

static void
begin_process(const struct conf *conf)
{
    int *logs = xcalloc(conf->log_count + 1, sizeof *logs);
    static uint64_t dropped;

    for (size_t i = 0; i < conf->log_count; i++)
        logs[i] = -1;
    scan_init(SCAN_AVX2);
    loop_init();
    logs_init(conf, logs, &dropped);
    log_to(2, false, LOG_WARNING_);
    log_as("weir -T");
    free(logs);
    worker.conf = conf;
    worker.slots = slots_create(1, 1);
    worker.row_number = 1;
    if (worker.slots == NULL) {
        fprintf(stderr, "weir: no memory to share: %m\n");
        exit(1);
    }
    worker.row = slots_row(worker.slots, 1);
}

static void
stop(struct task *t)
{
    (void)t;
    loop_stop();
}

/* One turn of the loop, in which what is over is freed. */
static void
end_process(void)
{
    static struct task last = {.run = stop};

    loop_post(&last);
    loop_run(NULL);
    slots_detach(worker.slots);
}

static void
tell_outcome(const struct explanation *e, const struct request *r)
{
    const char *by = e->trace.by != NULL ? e->trace.by : "nobody";

    print_place(e->conf, show_place(r));
    if (!e->over)
        fputs("=> waits for what a configuration cannot tell\n", stdout);
    else if (e->proxied)
        printf("=> proxied to upstream %.*s\n", STR_ARG(r->upstream->name));
    else
        printf("=> %d by weir (%s)\n", r->status, by);
}

static void
explain_request(struct explanation *e, struct request *r, const struct where *w)
{
    run(r, head_text(e->ask, w, r->arena));
    e->trace.phase = "POLICY";
    show_policies(r);
    tell_outcome(e, r);
    if (!r->finished)
        pipeline_client_lost(r);
}

/* As a client would do it that comes for the URL; where a certificate has to be shown, it was. */
static void
set_tls(struct explanation *e, const struct listener *l, const struct where *w, struct request *r)
{
    struct host asked;
    struct ip ip;

    e->tls = (struct tls_facts){.version = STR("TLSv1.3"), .cipher = STR("TLS_AES_256_GCM_SHA384"),
                                .verify = l->tls.client_verify == CLIENT_VERIFY_REQUIRE ? STR("SUCCESS") : STR("NONE"),
                                .strict = l->tls.client_verify != CLIENT_VERIFY_NONE};
    if (w->authority.n == 0)
        asked = w->host;
    else if (host_parse(&asked, w->authority, r->arena) != 0)
        asked = (struct host){.port = -1};
    if (asked.name.n > 0 && asked.name.p[0] != '[' && !ip_parse(&ip, asked.name))        /* RFC 6066 3 */
        e->tls.sni = asked.name;
    r->tls = &e->tls;
    r->https = true;
}

static struct request *
new_request(struct explanation *e, const struct listener *l, const struct where *w)
{
    struct request *r = request_new(&worker, l);

    e->r = r;
    r->trace = &e->trace;
    r->front = &front;
    r->front_state = e;
    r->times.start = clock_us();
    r->local.port = l->address.port;
    if (e->ask->from != NULL && strcmp(e->ask->from, "unix") != 0)
        ip_parse(&r->peer, str_of(e->ask->from));
    else if (e->ask->from == NULL && l->address.ip.family != AF_UNIX)
        ip_parse(&r->peer, STR("127.0.0.1"));
    r->client = r->peer;
    if (l->tls.on)
        set_tls(e, l, w, r);
    return r;
}

int
explain(const struct conf *conf, const struct ask *ask)
{
    struct explanation e = {.trace = {.say = say, .fetch = ask_origin, .phase = "READ"}, .conf = conf, .ask = ask};
    struct arena *arena = arena_new();
    const struct listener *l;
    struct where w;
    bool guessed = false;
    int port;

    begin_process(conf);
    take_apart(&w, ask, arena);
    port = port_of(&w, arena);
    l = choose(&e, &w, port, &guessed);
    if (l == NULL) {
        fprintf(stderr, "weir: --listen %s: there is no such listener\n", ask->listen);
    } else {
        struct request *r = new_request(&e, l, &w);

        tell_listener(r, &e, &w, port, guessed);
        explain_request(&e, r, &w);
    }
    end_process();
    arena_free(arena);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "weir: the answer cannot be written: %m\n");
        return 1;
    }
    return l != NULL ? 0 : 2;
}
