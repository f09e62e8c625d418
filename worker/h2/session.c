/*
 * libnghttp2: what it is told of a connection, and what it tells. It alone knows which frames a client wastes, and
 * which of its callbacks says that a client has broken a rule.
 *
 * Here nothing of the pipeline is called: streams are put into the connection's list of news.
 */
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/h2/client.h"
#include "worker/h2/memory.h"
#include "worker/state.h"

#define TABLE_MOST 4096         /* of HPACK, each way */
#define SEND_BLOCK_MOST (16 * 1024 * 1024)      /* of a response's fields: limits.response_head bounds them before */
#define SMALL_WINDOW 256        /* bytes; who opens a window by less dribbles */
#define EARNEST_DATA 1024       /* bytes of a frame that is worth its head */
#define FRAME_HEAD 9
#define FRAME_MOST (16 * 1024)  /* of DATA, its head included */
#define RESET_GRACE_MS 10000    /* for what was under way when weir reset a stream */

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;
static struct buffer *source;   /* of the bytes that are being looked at */

/*
 * Limits that some versions of the library have of their own. They are cruder than what is counted here: a CONTINUATION
 * that comes byte by byte counts each time, and a cancelled request is held against nothing that was useful.
 */
__attribute__((weak)) void nghttp2_option_set_max_continuations(nghttp2_option *option, size_t most);
__attribute__((weak)) void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *option, uint64_t burst,
                                                                      uint64_t rate);

/* --- abuse --- */

/* What the callback has to return. */
static int
offend(struct h2_client *c, enum h2_offence what)
{
    if (c->abuse == 0 && h2_score_add(&c->watch->score, what, clock_ms()))
        c->abuse = (uint8_t)(what + 1);
    return c->abuse != 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* A connection error that libnghttp2 does not know. */
static int
violate(struct h2_client *c, uint32_t code)
{
    if (c->violation == 0)
        c->violation = code;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int
on_reset(struct h2_client *c, const struct h2_stream *s)
{
    if (s == NULL || s->is_ending)
        return offend(c, H2_OFFENCE_RESET_LATE);
    count_h2_reset(c->conn.listener);
    count_client_error(c->conn.listener, SLOTS_ERROR_RESET);
    return offend(c, H2_OFFENCE_RESET);
}

/*
 * HEADERS for a stream that is none any more, or was passed over (RFC 9113 5.1, 5.1.1). It may be the trailers of one
 * that weir has reset a moment ago.
 */
static bool
is_late(const struct h2_client *c, int32_t id)
{
    return id % 2 == 1 && id <= c->last_id && nghttp2_session_find_stream(c->session, id) == NULL && !c->last_said &&
           (c->reset_ms == 0 || clock_ms() - c->reset_ms > RESET_GRACE_MS);
}

static int
on_headers_frame(struct h2_client *c, const nghttp2_frame_hd *hd)
{
    if (is_late(c, hd->stream_id))
        return violate(c, NGHTTP2_STREAM_CLOSED);
    if (hd->stream_id > c->last_id)
        c->last_id = hd->stream_id;
    return 0;
}

/*
 * Each frame by its head, before libnghttp2 looks at it, which would pass over many without a word: what it is counted
 * as, where it is anything.
 */
static enum h2_offence
judge(const struct h2_client *c, const struct h2_frame_head *f)
{
    switch (f->type) {
    case NGHTTP2_DATA:
        return f->stream <= c->last_id && nghttp2_session_get_stream_user_data(c->session, f->stream) == NULL
                   ? H2_OFFENCE_CLOSED_DATA
                   : H2_OFFENCES;
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM:
        return H2_OFFENCES;     /* what it does tells */
    case NGHTTP2_CONTINUATION:
        return H2_OFFENCE_CONTINUATION;
    case NGHTTP2_PRIORITY:
    case NGHTTP2_PRIORITY_UPDATE:
        return H2_OFFENCE_PRIORITY;
    case NGHTTP2_SETTINGS:
        return f->flags & NGHTTP2_FLAG_ACK ? H2_OFFENCES : H2_OFFENCE_SETTINGS;
    case NGHTTP2_PING:
    case NGHTTP2_GOAWAY:
        return H2_OFFENCE_PING;
    case NGHTTP2_WINDOW_UPDATE:
        return H2_OFFENCE_WINDOW;
    }
    return H2_OFFENCE_UNKNOWN;
}

static bool
count_frames(struct h2_client *c, struct str bytes)
{
    struct h2_frame_head f;

    while (h2_frames_next(&c->watch->frames, &bytes, &f)) {
        enum h2_offence what = judge(c, &f);

        if (what != H2_OFFENCES && offend(c, what) != 0)
            return false;
    }
    return true;
}

static int
on_block_frame(struct h2_client *c, const nghttp2_frame_hd *hd)
{
    bool more = hd->type == NGHTTP2_CONTINUATION;

    c->block_bytes = (more ? c->block_bytes : 0) + FRAME_HEAD + hd->length;
    if (hd->length == 0 && (more || !(hd->flags & NGHTTP2_FLAG_END_HEADERS)))
        return offend(c, H2_OFFENCE_EMPTY_BLOCK);
    return 0;
}

static int32_t
widest(const struct h2_client *c)
{
    int32_t most = 0;

    for (const struct h2_stream *s = c->streams; s != NULL; s = s->next) {
        int32_t n = nghttp2_session_get_stream_remote_window_size(c->session, s->id);

        most = n > most ? n : most;
    }
    return most;
}

static int
on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *data)
{
    struct h2_client *c = data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, hd->stream_id);

    switch (hd->type) {
    case NGHTTP2_DATA:
        if (s != NULL)
            s->r->bytes_received += FRAME_HEAD + hd->length;
        return 0;
    case NGHTTP2_HEADERS:
        if (on_headers_frame(c, hd) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        return on_block_frame(c, hd);
    case NGHTTP2_CONTINUATION:
        return on_block_frame(c, hd);
    case NGHTTP2_PRIORITY:
        return hd->stream_id == 0 ? violate(c, NGHTTP2_PROTOCOL_ERROR) : 0;     /* RFC 9113 6.3 */
    case NGHTTP2_RST_STREAM:
        return on_reset(c, s);
    case NGHTTP2_SETTINGS:
        c->widest = widest(c);
        return 0;
    }
    return 0;
}

/* --- what is received --- */

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct h2_client *c = data;

    c->in_block = true;
    c->block = frame->hd.stream_id;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, h2_stream_new(c, frame->hd.stream_id));
    return 0;
}

static struct str
str_of_rcbuf(nghttp2_rcbuf *b)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(b);

    return (struct str){(const char *)v.base, v.len};
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
          uint8_t flags, void *data)
{
    struct h2_client *c = data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    if (s == NULL)
        return 0;
    if (!h2_front_field(s, frame->headers.cat != NGHTTP2_HCAT_REQUEST, str_of_rcbuf(name), str_of_rcbuf(value),
                        flags & NGHTTP2_NV_FLAG_NO_INDEX))
        return offend(c, H2_OFFENCE_BOMB);
    return 0;
}

/* RFC 9113 8.2.1: what libnghttp2 would leave out ends the stream. */
static int
on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                  uint8_t flags, void *data)
{
    (void)session;
    (void)frame;
    (void)name;
    (void)value;
    (void)flags;
    (void)data;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int
on_head(struct h2_client *c, const nghttp2_frame *frame, struct h2_stream *s)
{
    c->in_block = false;
    if (s == NULL)
        return 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_front_head(s, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    else
        s->r->bytes_received += c->block_bytes;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        h2_front_end(s);
    return s->status == 431 || s->status == 414 ? offend(c, H2_OFFENCE_LARGE_HEAD) : 0;
}

static int
on_data_frame(struct h2_client *c, const nghttp2_frame *frame, struct h2_stream *s)
{
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    if (s != NULL && end)
        h2_front_end(s);
    if (frame->hd.length - frame->data.padlen == 0 && !end)
        return offend(c, H2_OFFENCE_EMPTY_DATA);
    return 0;
}

/* RFC 9113 6.9.2: no window may come over its most by it; libnghttp2 would reset that stream alone. */
static int
on_settings(struct h2_client *c, const nghttp2_settings *settings)
{
    c->begun = true;
    for (size_t i = 0; i < settings->niv; i++) {
        int64_t n = settings->iv[i].value;

        if (settings->iv[i].settings_id != NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)
            continue;
        if (c->widest + n - c->initial > NGHTTP2_MAX_WINDOW_SIZE)
            return violate(c, NGHTTP2_FLOW_CONTROL_ERROR);
        c->widest += (int32_t)(n - c->initial);
        c->initial = (int32_t)n;
    }
    return 0;
}

static int
on_priority(struct h2_client *c, const nghttp2_frame *frame)
{
    const nghttp2_ext_priority_update *update = frame->ext.payload;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(c->session, update->stream_id);

    if (update->stream_id == 0)         /* RFC 9218 7.1 */
        return violate(c, NGHTTP2_PROTOCOL_ERROR);
    if (s != NULL) {                    /* RFC 9218 7: what it leaves out is as if it had never been said */
        s->priority = (nghttp2_extpri){.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY};
        h2_front_priority(&s->priority, (struct str){(const char *)update->field_value, update->field_value_len});
    }
    return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct h2_client *c = data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        return on_head(c, frame, s);
    case NGHTTP2_DATA:
        return on_data_frame(c, frame, s);
    case NGHTTP2_SETTINGS:
        return on_settings(c, &frame->settings);
    case NGHTTP2_WINDOW_UPDATE:
        if (frame->window_update.window_size_increment < SMALL_WINDOW)
            return offend(c, H2_OFFENCE_SMALL_WINDOW);
        break;
    case NGHTTP2_PRIORITY_UPDATE:
        return on_priority(c, frame);
    }
    return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *data)
{
    struct h2_client *c = data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);

    (void)flags;
    if (nghttp2_session_consume_connection(session, n) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (s == NULL)
        return 0;
    if (n >= EARNEST_DATA)
        h2_score_credit(&c->watch->score, H2_MERIT_DATA);
    h2_front_data(s, source, (struct str){(const char *)p, n});
    return 0;
}

/* Once a stream: when the rule is seen to be broken, or else when the reset is sent. */
static int
offend_by(struct h2_stream *s)
{
    if (s->offended)
        return 0;
    s->offended = true;
    return offend(s->c, H2_OFFENCE_STREAM_ERROR);
}

/* A frame that broke a rule, and of which on_frame_recv is not told. */
static int
on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *data)
{
    struct h2_client *c = data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    if (frame->hd.type == NGHTTP2_HEADERS)
        c->in_block = false;
    if (s == NULL)
        return error != NGHTTP2_ERR_REFUSED_STREAM ? offend(c, H2_OFFENCE_STREAM_ERROR) : 0;
    s->malformed = true;
    return offend_by(s);
}

static int
on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *data)
{
    struct h2_client *c = data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);

    (void)code;
    if (c->in_block && c->block == id)
        c->in_block = false;
    if (s != NULL) {
        s->closed = true;
        h2_stream_news(s);
    }
    return 0;
}

/* --- what is sent --- */

/* A stream that weir itself resets has no user data any more: this one libnghttp2 resets for what the client did. */
static int
on_reset_sent(struct h2_client *c, const nghttp2_frame *frame, struct h2_stream *s)
{
    if (frame->rst_stream.error_code == NGHTTP2_REFUSED_STREAM)
        return offend(c, H2_OFFENCE_REFUSED);
    if (s == NULL || s->broken)
        return 0;
    s->malformed = true;
    return offend_by(s);
}

/* The library itself finds one thing abusive: SETTINGS of too many values. */
static void
on_goaway_sent(struct h2_client *c, uint32_t code)
{
    if (c->abuse != 0 || code == NGHTTP2_NO_ERROR)
        return;
    if (code == NGHTTP2_ENHANCE_YOUR_CALM)
        c->abuse = H2_OFFENCE_SETTINGS + 1;
    else
        count_client_error(c->conn.listener, SLOTS_ERROR_MALFORMED);
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct h2_client *c = data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM:
        c->reset_ms = clock_ms();
        on_reset_sent(c, frame, s);     /* acted on when it is over: a reset that is not sent would be none */
        break;
    case NGHTTP2_GOAWAY:
        on_goaway_sent(c, frame->goaway.error_code);
        break;
    case NGHTTP2_HEADERS:
        if (s != NULL)
            s->r->bytes_sent += FRAME_HEAD + frame->hd.length;
        /* fall through */
    case NGHTTP2_DATA:
        if (s != NULL && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            h2_send_ended(s);
        break;
    }
    return 0;
}

static int
on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *data)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)error;
    (void)data;
    if (s != NULL && frame->hd.type == NGHTTP2_HEADERS) {
        s->broken = true;
        h2_stream_news(s);
    }
    return 0;
}

/* A frame with its head is a record of TLS, and four of them are what the wire holds. */
static ssize_t
frame_length(nghttp2_session *session, uint8_t type, int32_t id, int32_t session_window, int32_t stream_window,
             uint32_t most, void *data)
{
    (void)session;
    (void)type;
    (void)id;
    (void)session_window;
    (void)stream_window;
    (void)most;
    (void)data;
    return FRAME_MOST - FRAME_HEAD;
}

static int
send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n, nghttp2_data_source *from,
          void *data)
{
    struct h2_client *c = data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)from;
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (s->status == 0 && (n >= EARNEST_DATA || (n > 0 && n == s->r->response.body.bytes)))
        h2_score_credit(&c->watch->score, H2_MERIT_DATA);
    h2_send_data(s, head, FRAME_HEAD, n);
    return c->wire.bytes >= H2_WIRE_MOST ? NGHTTP2_ERR_PAUSE : 0;
}

/* --- sessions --- */

static void
prepare(void)
{
    nghttp2_session_callbacks *cb;

    check(nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&options) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
    nghttp2_session_callbacks_set_data_source_read_length_callback(cb, frame_length);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(options, TABLE_MOST);
    nghttp2_option_set_max_send_header_block_length(options, SEND_BLOCK_MOST);
    nghttp2_option_set_builtin_recv_extension_type(options, NGHTTP2_PRIORITY_UPDATE);
    if (nghttp2_option_set_max_continuations != NULL)
        nghttp2_option_set_max_continuations(options, SIZE_MAX / 2);
    if (nghttp2_option_set_stream_reset_rate_limit != NULL)
        nghttp2_option_set_stream_reset_rate_limit(options, UINT32_MAX, UINT32_MAX);
    callbacks = cb;
}

/* RFC 9113 6.5.2 counts 32 for each field, weir.yaml four. */
static uint32_t
header_list_size(const struct limits *l)
{
    uint64_t n = l->request_headers + l->request_line + (uint64_t)l->request_header_count * 32;

    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

nghttp2_session *
h2_session_new(struct h2_client *c)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MOST},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW_FIRST},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, header_list_size(&worker.conf->scope.policy.limits)},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_session *session;

    if (callbacks == NULL)
        prepare();
    if (nghttp2_session_server_new3(&session, callbacks, c, options, &h2_memory) != 0)
        return NULL;
    if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, sizeof(settings) / sizeof(settings[0])) != 0 ||
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, H2_HOLDS_MOST) != 0) {
        nghttp2_session_del(session);
        return NULL;
    }
    return session;
}

bool
h2_session_feed(struct h2_client *c, struct buffer *b, struct str bytes)
{
    ssize_t n;

    if (!count_frames(c, bytes))
        return false;
    source = b;
    n = nghttp2_session_mem_recv(c->session, (const uint8_t *)bytes.p, bytes.n);
    source = NULL;
    if (n == NGHTTP2_ERR_FLOODED && c->abuse == 0)
        c->abuse = H2_OFFENCE_PING + 1;
    if (n >= 0)
        return c->abuse == 0;
    c->error = (int)n;
    return false;
}
