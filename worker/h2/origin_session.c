/*
 * Between libnghttp2 and the connections to servers. It alone knows which frames of a server cost something and bring
 * nothing, by the heads of all of them: libnghttp2 passes over many without a word. Enough of them end the
 * connection. Callbacks note what has come; none calls the pipeline.
 *
 * libnghttp2 checks what RFC 9113 8 asks of messages: pseudo-header fields, names and values, content-length against
 * DATA; what fails is a stream that it resets, which is no response of the server's.
 */
#include "worker/base/clock.h"
#include "worker/h2/memory.h"
#include "worker/h2/origin.h"

#define HEAD_SENT_MOST (8 * 1024 * 1024)        /* more than limits let any client send */

static struct h2_exchange *
find(nghttp2_session *session, int32_t id)
{
    return id != 0 ? nghttp2_session_get_stream_user_data(session, id) : NULL;
}

/* One that libnghttp2 has not opened a stream for. */
static struct h2_exchange *
find_unopened(const struct h2_origin *c, int32_t id)
{
    struct h2_exchange *s = c->first;

    while (s != NULL && s->id != id)
        s = s->next;
    return s;
}

/* --- what comes --- */

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_exchange *s = find(session, frame->hd.stream_id);

    (void)user;
    if (s != NULL)
        h2_response_begin(s);
    return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
          const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    struct h2_exchange *s = find(session, frame->hd.stream_id);

    (void)user;
    if (s == NULL)
        return 0;
    return h2_response_field(s, (struct str){(const char *)name, name_n}, (struct str){(const char *)value, value_n},
                             flags & NGHTTP2_NV_FLAG_NO_INDEX);
}

/* libnghttp2 would leave such a field out. */
static int
on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                  const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    struct h2_exchange *s = find(session, frame->hd.stream_id);

    (void)name;
    (void)name_n;
    (void)value;
    (void)value_n;
    (void)flags;
    (void)user;
    if (s != NULL)
        h2_response_trouble(s, SLOTS_ERROR_MALFORMED);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int
on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    struct h2_exchange *s = find(session, frame->hd.stream_id);

    (void)error;
    (void)user;
    if (s != NULL)
        h2_response_trouble(s, SLOTS_ERROR_MALFORMED);
    return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *user)
{
    struct h2_exchange *s = find(session, id);

    (void)flags;
    (void)user;
    /* a stream that nobody reads must not stop the others; what it may send is bounded by its own window */
    nghttp2_session_consume_connection(session, n);
    if (s != NULL)
        h2_response_data(s, (struct str){(const char *)data, n});
    return 0;
}

/* It stands in line, here or at libnghttp2: no frame of it was made. */
static bool
is_in_line(const struct h2_origin *c, const struct h2_exchange *s)
{
    return !s->closed && find(c->session, s->id) == NULL;
}

/* Of the connection's exchanges the first `room` may stay; others that stand in line would do so until one ends. */
static void
refuse_in_line(struct h2_origin *c, uint32_t room)
{
    for (struct h2_exchange *s = c->first; s != NULL; s = s->next) {
        if (room > 0) {
            room--;
        } else if (is_in_line(c, s)) {
            s->refused = true;
            h2_origin_news(s);
        }
    }
}

/* Streams that the server has not begun with are closed by libnghttp2; who was not given a stream is told here. */
static void
on_goaway(struct h2_origin *c)
{
    h2_origin_leave(c);
    refuse_in_line(c, 0);
}

/* What was under way when weir reset its stream is no offence. */
static bool
is_late(struct h2_origin *c, size_t n)
{
    if (n > c->late)
        return false;
    c->late -= n;
    return true;
}

/* H2_OFFENCES: none. What RST_STREAM and GOAWAY can do is bounded by what was asked for. */
static enum h2_offence
judge(struct h2_origin *c, const struct h2_frame_head *f)
{
    switch (f->type) {
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
        if (find(c->session, f->stream) == NULL)
            return is_late(c, f->length + H2_FRAME_HEAD) ? H2_OFFENCES : H2_OFFENCE_CLOSED_DATA;
        return f->type == NGHTTP2_HEADERS || f->length > 0 || (f->flags & NGHTTP2_FLAG_END_STREAM)
                   ? H2_OFFENCES
                   : H2_OFFENCE_EMPTY_DATA;
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_GOAWAY:
        return H2_OFFENCES;
    case NGHTTP2_CONTINUATION:
        return H2_OFFENCE_CONTINUATION;
    case NGHTTP2_SETTINGS:
        return f->flags & NGHTTP2_FLAG_ACK ? H2_OFFENCES : H2_OFFENCE_SETTINGS;
    case NGHTTP2_PING:
        return H2_OFFENCE_PING;
    case NGHTTP2_WINDOW_UPDATE:
        return H2_OFFENCE_WINDOW;
    case NGHTTP2_PRIORITY:
        return H2_OFFENCE_PRIORITY;
    }
    return H2_OFFENCE_UNKNOWN;
}

bool
h2_origin_count(struct h2_origin *c, struct str bytes)
{
    struct h2_frame_head f;

    while (!c->abused && h2_frames_next(&c->frames, &bytes, &f)) {
        enum h2_offence what;

        if (!c->greeted && f.type != NGHTTP2_SETTINGS)
            return false;       /* RFC 9113 3.4; the usual slip is a server that speaks HTTP/1 */
        c->greeted = true;
        what = judge(c, &f);
        c->abused = what != H2_OFFENCES && h2_score_add(&c->score, what, clock_ms());
    }
    return !c->abused;
}

/* Of the streams' windows towards the server. */
static int32_t
widest(const struct h2_origin *c)
{
    int32_t most = 0;

    for (const struct h2_exchange *s = c->first; s != NULL; s = s->next) {
        int32_t n = nghttp2_session_get_stream_remote_window_size(c->session, s->id);

        most = n > most ? n : most;
    }
    return most;
}

static int
on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct h2_origin *c = user;

    (void)session;
    if (hd->type == NGHTTP2_SETTINGS)
        c->widest = widest(c);
    return 0;
}

/* RFC 9113 6.9.2: no window may come over its most by it; libnghttp2 would reset that stream alone. */
static void
check_windows(struct h2_origin *c, const nghttp2_settings *settings)
{
    for (size_t i = 0; i < settings->niv; i++) {
        int64_t n = settings->iv[i].value;

        if (settings->iv[i].settings_id != NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)
            continue;
        if (c->widest + n - c->initial > NGHTTP2_MAX_WINDOW_SIZE) {
            nghttp2_session_terminate_session(c->session, NGHTTP2_FLOW_CONTROL_ERROR);
            return;
        }
        c->widest += (int32_t)(n - c->initial);
        c->initial = (int32_t)n;
    }
}

static void
on_settings(struct h2_origin *c, const nghttp2_settings *settings)
{
    c->to_begin = c->to_begin || !c->settled;
    c->settled = true;
    c->endpoint->h2_streams =
        nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    refuse_in_line(c, c->endpoint->h2_streams);
    check_windows(c, settings);
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_origin *c = user;
    struct h2_exchange *s = find(session, frame->hd.stream_id);

    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        on_settings(c, &frame->settings);
    if (frame->hd.type == NGHTTP2_GOAWAY)
        on_goaway(c);
    if (s != NULL && frame->hd.type == NGHTTP2_HEADERS)
        h2_response_head(s);
    if (s != NULL && frame->hd.type == NGHTTP2_RST_STREAM)
        s->reset = true;
    if (s != NULL && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        s->ended = true;
        h2_origin_news(s);
    }
    if (frame->hd.type == NGHTTP2_DATA && frame->hd.length > 0)
        h2_score_credit(&c->score, H2_MERIT_DATA);
    return 0;
}

/* --- what becomes of what was to be sent --- */

static int
on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_exchange *s = find(session, id);

    (void)user;
    if (s == NULL)
        return 0;
    s->closed = true;
    s->code = code;
    if (code == NGHTTP2_REFUSED_STREAM)
        s->refused = true;
    h2_origin_news(s);
    return 0;
}

static int
on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_exchange *s = find(session, frame->hd.stream_id);

    (void)user;
    if (s != NULL && frame->hd.type == NGHTTP2_HEADERS)
        s->x.sent += frame->hd.length + H2_FRAME_HEAD;
    return 0;
}

/* After a GOAWAY no stream is begun. */
static int
on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    struct h2_exchange *s = find_unopened(user, frame->hd.stream_id);

    (void)session;
    (void)error;
    if (s == NULL || frame->hd.type != NGHTTP2_HEADERS || s->x.sent > 0)
        return 0;
    s->refused = true;
    h2_origin_news(s);
    return 0;
}

static int
send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n, nghttp2_data_source *source,
          void *user)
{
    struct h2_origin *c = user;
    struct h2_exchange *s = find(session, frame->hd.stream_id);

    (void)source;
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (n > 0)
        h2_score_credit(&c->score, H2_MERIT_DATA);
    return h2_request_data(s, head, n);
}

/* --- the session --- */

static nghttp2_session_callbacks *
make_callbacks(void)
{
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
    return cb;
}

static nghttp2_option *
make_option(void)
{
    nghttp2_option *option;

    if (nghttp2_option_new(&option) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, HEAD_SENT_MOST);
    nghttp2_option_set_peer_max_concurrent_streams(option, H2_ORIGIN_STREAMS_MOST);
    return option;
}

/* The connection's window is as large as all that its streams may hold: it never stops one. */
static bool
say_first(nghttp2_session *session)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW_FIRST},
    };

    return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, sizeof(settings) / sizeof(settings[0])) == 0 &&
           nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, H2_HOLDS_MOST) == 0;
}

nghttp2_session *
h2_origin_session(struct h2_origin *c)
{
    static nghttp2_session_callbacks *callbacks;
    static nghttp2_option *option;
    nghttp2_session *session;

    if (callbacks == NULL)
        callbacks = make_callbacks();
    if (option == NULL)
        option = make_option();
    if (callbacks == NULL || option == NULL ||
        nghttp2_session_client_new3(&session, callbacks, c, option, &h2_memory) != 0)
        return NULL;
    if (say_first(session))
        return session;
    nghttp2_session_del(session);
    return NULL;
}
