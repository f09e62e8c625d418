/*
 * A server that speaks HTTP/2, or something like it. Requests of weir's own go to a socket of this process; what its
 * other end says is the input, in pieces. Whatever it is, each request has to end, once, and nothing may be left.
 *
 * The first byte of an input chooses the requests; a byte before each piece says how long it is.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "t/fuzz/must.h"
#include "worker/base/clock.h"
#include "worker/base/loop.h"
#include "worker/base/timer.h"
#include "worker/front.h"
#include "worker/pipeline.h"
#include "worker/state.h"
#include "worker/upstream/exchange.h"

#define REQUESTS 3
#define ENDS_MOST 16            /* times that the server goes, until no request is left that can end */
#define PIECE 64                /* bytes, times what the byte before it says, 1 to 256 */

static struct upstream upstream;
static struct server server;
static struct conf conf;
static int listening, accepted = -1;
static unsigned alive;

/* --- the front of these requests --- */

struct asked {
    bool ended;
    bool reads;                 /* it takes what comes; else it never does */
    uint64_t got;
};

static void
over(struct request *r)
{
    struct asked *a = r->front_state;

    MUST(!a->ended);
    a->ended = true;
    alive--;
}

static void
on_interim(struct request *r, int status)
{
    MUST(!r->started && status >= 100 && status < 200 && status != 101);
}

static void
on_send(struct request *r)
{
    struct asked *a = r->front_state;
    struct flow *body = &r->response.body;

    MUST(!a->ended);
    if (!r->started)
        return;
    MUST(r->status >= 101 && r->status <= 599);
    while (a->reads && body->bytes > 0 && !a->ended) {
        a->got += body->bytes;
        flow_eat(body, body->bytes);
        pipeline_drained(r);
    }
    if (a->ended || (body->bytes > 0 && !body->broken))
        return;
    if (body->ended) {
        MUST(r->no_content || r->response.length == LENGTH_UNKNOWN || a->got == (uint64_t)r->response.length);
        over(r);
        pipeline_sent(r);
    } else if (body->broken) {
        pipeline_client_lost(r);
    }
}

static void
on_receive(struct request *r)
{
    (void)r;
}

static void
on_cut(struct request *r)
{
    over(r);
}

static const struct front front = {
    .name = "fuzz", .interim = on_interim, .send = on_send, .receive = on_receive, .cut = on_cut,
};

static struct request *
ask(unsigned how, struct asked *a)
{
    static char content[200000];
    struct request *r = request_new(&worker, NULL);

    *a = (struct asked){.reads = (how & 4) == 0};
    r->front = &front;
    r->front_state = a;
    r->own = true;
    r->upstream = &upstream;
    r->method = how & 1 ? METHOD_PUT : how & 2 ? METHOD_HEAD : METHOD_GET;
    r->method_text = how & 1 ? STR("PUT") : how & 2 ? STR("HEAD") : STR("GET");
    r->path = r->target = STR("/");
    fields_init(&r->forward, r->arena);
    fields_add_id(&r->forward, FIELD_HOST, STR("fuzz"));
    r->request.length = how & 1 ? (int64_t)sizeof(content) : 0;
    if (how & 1)
        flow_put_static(&r->request.body, (struct str){content, sizeof(content)});
    r->request.body.ended = true;
    r->wants_upgrade = (how & 3) == 3;
    if (r->wants_upgrade)
        fields_add(&r->forward, STR("Sec-WebSocket-Key"), STR("MDEyMzQ1Njc4OWFiY2RlZg=="));
    alive++;
    return r;
}

/* --- the server --- */

static void
nothing(struct task *t)
{
    (void)t;
}


/* So many turns of the loop. A task that waits keeps it from sleeping. */
static void
go_on(unsigned n)
{
    static struct task idle = {.run = nothing};

    for (unsigned i = 0; i < n; i++) {
        loop_post(&idle);
        loop_turn(NULL);
    }
}

static void
take_in(void)
{
    static char waste[65536];

    if (accepted < 0)
        accepted = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
    while (accepted >= 0 && recv(accepted, waste, sizeof(waste), 0) > 0)
        ;
}

static void
hang_up(void)
{
    take_in();
    if (accepted >= 0)
        close(accepted);
    accepted = -1;
}

/* --- once --- */

static void
listen_here(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    static char text[64], path[64];
    const char *why;

    snprintf(path, sizeof(path), "/tmp/fuzz_h2_origin.%d", (int)getpid());
    snprintf(text, sizeof(text), "unix:%s", path);
    unlink(path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    MUST(bind(listening, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listening, 64) == 0);
    server.text = str_of(text);
    MUST(addr_parse(&server.address, server.text, &why) == 0);
}

static void
begin(void)
{
    clock_update();
    timers_init(clock_ms());
    loop_init();
    log_to(-1, false, LOG_ERROR_ + 1);
    listen_here();
    server.upstream = &upstream;
    server.weight = 1;
    upstream = (struct upstream){.name = STR("fuzz"), .servers = &server, .server_count = 1, .protocol = UPSTREAM_H2C,
                                 .keepalive = 4, .keepalive_timeout = 60000, .retry = {.attempts = 1, .on = 63}};
    conf = (struct conf){.upstreams = &upstream, .upstream_count = 1, .server_count = 1};
    conf.scope.policy.limits.response_head = 4096;
    conf.scope.policy.buffer = 64 * 1024;
    worker.conf = &conf;
    worker.slots = slots_create(2, 1);
    MUST(worker.slots != NULL);
    worker.row_number = 1;
    worker.row = slots_row(worker.slots, 1);
    upstreams_init(&conf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct asked asked[REQUESTS];
    struct request *r[REQUESTS];
    size_t at = 1;

    if (listening == 0)
        begin();
    if (n == 0)
        return 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        r[i] = ask((data[0] >> 2 * i & 3) | (data[0] >> 6 & 1) << 2, &asked[i]);
        pipeline_fetch(r[i]);
    }
    go_on(3);
    take_in();
    while (at < n) {
        size_t piece = ((size_t)data[at] + 1) * PIECE;

        at++;
        piece = piece < n - at ? piece : n - at;
        if (accepted >= 0 && piece > 0)
            (void)!send(accepted, data + at, piece, MSG_NOSIGNAL);
        at += piece;
        go_on(2);
        take_in();
    }
    /* whoever is left is told that the server is gone, there and wherever it went after that */
    for (unsigned i = 0; i < ENDS_MOST && alive > 0; i++) {
        hang_up();
        go_on(2);
    }
    hang_up();
    for (unsigned i = 0; i < REQUESTS; i++)
        if (!asked[i].ended) {
            MUST(!asked[i].reads);
            pipeline_client_lost(r[i]);
        }
    MUST(alive == 0);
    exchange_pools_close();
    go_on(1);
    MUST(worker.requests == NULL);
    return 0;
}
