/* Flows against a plain queue of bytes; what they pin; and the two ways of a pipe being full. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "t/unit/unit.h"
#include "worker/base/flow.c"

#define MODEL_MOST (1 << 20)
#define CHANGE_MOST 70000       /* bytes that one change puts */

struct model {
    char *v;
    size_t from, to;
};

static uint64_t seed;
static unsigned char stamp;

static uint64_t
rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void
start_model(struct model *m)
{
    *m = (struct model){.v = malloc(MODEL_MOST)};
}

/* Bytes that were never there before, into `to`, and a copy into the model. */
static void
make_bytes(struct model *m, char *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (char)stamp++;
    memcpy(m->v + m->to, to, n);
    m->to += n;
}

static void
compare(const struct flow *f, const struct model *m)
{
    struct iovec iov[64];
    size_t left = m->to - m->from, at = m->from;
    int n = flow_iov(f, iov, 64, SIZE_MAX);

    ck_assert_uint_eq(f->bytes, left);
    ck_assert_uint_eq(flow_in_pieces(f), left);
    ck_assert_uint_eq(f->passed, m->to);
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len == 0 || memcmp(iov[i].iov_base, m->v + at, iov[i].iov_len) != 0)
            ck_abort_msg("piece %d differs", i);
        at += iov[i].iov_len;
    }
    ck_assert(n == 64 || at == m->to);
}

static void
put_slices(struct flow *f, struct model *m, bool held)
{
    struct buffer *b = buffer_get();
    size_t n = rnd() % 3 == 0 ? rnd() % BUFFER_SIZE : rnd() % 300;
    size_t cut;

    make_bytes(m, b->data, n);
    b->fill = n;
    cut = n > 0 ? rnd() % n : 0;
    for (int part = 0; part < 2; part++) {
        struct str s = part == 0 ? (struct str){b->data, cut} : (struct str){b->data + cut, n - cut};

        if (held)
            flow_put_held(f, b, s);
        else
            flow_put(f, b, s);
    }
    buffer_drop(b);
}

static void
fill_space(struct flow *f, struct model *m)
{
    size_t n, most = 1 + rnd() % 20000, used;
    char *to = flow_space(f, most, &n);

    ck_assert_uint_ge(n, 1);
    ck_assert_uint_le(n, most);
    used = rnd() % 4 == 0 ? 0 : rnd() % (n + 1);
    make_bytes(m, to, used);
    flow_added(f, used);
}

static void
fill_spaces(struct flow *f, struct model *m)
{
    struct iovec iov[FLOW_SPACES];
    size_t most = 1 + rnd() % (5 * BUFFER_SIZE), all = 0, used;
    int count = flow_spaces(f, most, iov);

    ck_assert_int_ge(count, 1);
    ck_assert_int_le(count, FLOW_SPACES);
    for (int i = 0; i < count; i++)
        all += iov[i].iov_len;
    ck_assert_uint_le(all, most);
    ck_assert(all == most || count == FLOW_SPACES);
    used = rnd() % 4 == 0 ? 0 : rnd() % 4 == 0 ? all : rnd() % (all + 1);
    for (size_t i = 0, left = used; left > 0; i++) {
        size_t part = left < iov[i].iov_len ? left : iov[i].iov_len;

        make_bytes(m, iov[i].iov_base, part);
        left -= part;
    }
    flow_added(f, used);
    ck_assert(f->tail == NULL || f->tail->next == NULL);
}

static void
change(struct flow *f, struct model *m)
{
    static char fixed[16][100];
    static char copied[40000];
    char *to;
    size_t n;

    switch (rnd() % 7) {
    case 0:
        put_slices(f, m, false);
        break;
    case 1:
        put_slices(f, m, true);
        break;
    case 2:
        fill_space(f, m);
        break;
    case 3:
        n = rnd() % 2 == 0 ? rnd() % 50 : rnd() % sizeof(copied);
        make_bytes(m, copied, n);
        flow_copy(f, (struct str){copied, n});
        break;
    case 4:
        if (f->first != NULL)
            break;              /* static bytes change under way here otherwise */
        to = fixed[rnd() % 16];
        make_bytes(m, to, 100);
        flow_put_static(f, (struct str){to, 100});
        compare(f, m);
        flow_eat(f, 100);
        m->from += 100;
        break;
    case 5:
        fill_spaces(f, m);
        break;
    default:
        n = rnd() % 3 == 0 ? f->bytes : rnd() % (f->bytes + 1);
        flow_eat(f, n);
        m->from += n;
    }
}

START_TEST(a_flow_is_a_queue_of_bytes)
{
    seed = 4242 + (uint64_t)_i;
    for (int round = 0; round < 20; round++) {
        struct flow f;
        struct model m;

        start_model(&m);
        flow_init(&f, 1 << 16);
        while (m.to < MODEL_MOST - CHANGE_MOST) {
            change(&f, &m);
            compare(&f, &m);
        }
        flow_clear(&f);
        ck_assert_uint_eq(f.bytes, 0);
        ck_assert_ptr_null(f.tail);
        free(m.v);
    }
    flow_flush();
    buffer_flush();
}
END_TEST

START_TEST(moving_copies_nothing_and_loses_nothing)
{
    seed = 77 + (uint64_t)_i;
    for (int round = 0; round < 20; round++) {
        struct flow a, b;
        struct model from, to;

        start_model(&from);
        start_model(&to);
        flow_init(&a, 1 << 16);
        flow_init(&b, 1 << 16);
        while (from.to < MODEL_MOST - CHANGE_MOST) {
            size_t n;

            change(&a, &from);
            n = rnd() % (a.bytes + 1);
            memcpy(to.v + to.to, from.v + from.from, n);
            from.from += n;
            to.to += n;
            flow_move(&b, &a, n);
            n = rnd() % (b.bytes + 1);
            flow_eat(&b, n);
            to.from += n;
            compare(&a, &from);
            compare(&b, &to);
        }
        flow_clear(&a);
        flow_clear(&b);
        free(from.v);
        free(to.v);
    }
}
END_TEST

START_TEST(the_marks_stop_and_resume_once)
{
    struct flow f;
    static char bytes[1000];

    flow_init(&f, 1000);
    ck_assert_uint_eq(flow_room(&f), 1000);
    flow_copy(&f, (struct str){bytes, 999});
    ck_assert_uint_eq(flow_room(&f), 1);
    ck_assert(!flow_resumes(&f));
    flow_copy(&f, (struct str){bytes, 1});
    ck_assert_uint_eq(flow_room(&f), 0);
    ck_assert(f.stopped);
    flow_eat(&f, 499);
    ck_assert(!flow_resumes(&f));
    flow_eat(&f, 1);
    ck_assert(flow_resumes(&f));
    ck_assert(!flow_resumes(&f));
    flow_eat(&f, 500);
    ck_assert(!flow_resumes(&f));
    flow_clear(&f);
}
END_TEST

START_TEST(clearing_keeps_the_end_and_lets_a_stopped_writer_go_on)
{
    struct flow f;

    flow_init(&f, 3);
    flow_copy(&f, STR("abc"));
    flow_room(&f);
    f.ended = true;
    flow_clear(&f);
    ck_assert(f.ended);
    ck_assert(flow_resumes(&f));
}
END_TEST

START_TEST(an_iovec_ends_at_most)
{
    struct flow f;
    struct iovec iov[4];

    flow_init(&f, 100);
    flow_put_static(&f, STR("abc"));
    flow_put_static(&f, STR("defg"));
    flow_put_static(&f, STR("h"));
    ck_assert_int_eq(flow_iov(&f, iov, 4, 5), 2);
    ck_assert_uint_eq(iov[1].iov_len, 2);
    ck_assert_int_eq(flow_iov(&f, iov, 4, 0), 0);
    ck_assert_int_eq(flow_iov(&f, iov, 2, 100), 2);
    ck_assert_int_eq(flow_iov(&f, iov, 4, 100), 3);
    flow_clear(&f);
}
END_TEST

/* Bytes of the buffers that a flow's pieces and tail keep. */
static size_t
pinned(const struct flow *f)
{
    const struct buffer *seen[4096];
    size_t count = 0;

    if (f->tail != NULL)
        seen[count++] = f->tail;
    for (const struct flow_piece *p = f->first; p != NULL; p = p->next) {
        size_t i = 0;

        while (i < count && seen[i] != p->buffer)
            i++;
        if (i == count && p->buffer != NULL)
            seen[count++] = p->buffer;
    }
    return count * BUFFER_SIZE;
}

/* A peer chooses how its bytes are cut: it can't make them cost more than a few times their length. */
START_TEST(short_slices_pin_no_buffer_each)
{
    size_t lengths[][2] = {{1, 1}, {1, HOLD_LEAST}, {HOLD_LEAST, HOLD_LEAST}, {HOLD_LEAST - 1, HOLD_LEAST - 1},
                           {7, 5000}};
    struct flow f;

    flow_init(&f, 1 << 18);
    for (int i = 0; f.bytes < f.high; i++) {
        struct buffer *b = buffer_get();

        memset(b->data, 'x', BUFFER_SIZE);
        flow_put(&f, b, (struct str){b->data, lengths[_i][i % 2]});
        buffer_drop(b);
    }
    ck_assert_uint_le(pinned(&f), 4 * f.bytes + 2 * BUFFER_SIZE);
    flow_clear(&f);
}
END_TEST

START_TEST(dripping_reads_fill_buffers)
{
    struct flow f;

    flow_init(&f, 1 << 18);
    while (f.bytes < f.high) {
        size_t n;

        *flow_space(&f, flow_room(&f), &n) = 'x';
        flow_added(&f, 1);
    }
    ck_assert_uint_le(pinned(&f), 2 * f.bytes);
    flow_clear(&f);
}
END_TEST

START_TEST(an_idle_flow_pins_nothing)
{
    struct iovec iov[FLOW_SPACES];
    struct flow f;
    size_t n;

    flow_init(&f, 1000);
    flow_space(&f, 1000, &n);
    flow_added(&f, 0);
    ck_assert_ptr_null(f.tail);
    ck_assert_int_eq(flow_spaces(&f, 4 * BUFFER_SIZE, iov), 4);
    flow_added(&f, 0);
    ck_assert_ptr_null(f.tail);
    ck_assert_int_eq(flow_spaces(&f, 4 * BUFFER_SIZE, iov), 4);
    flow_added(&f, 1);
    ck_assert_uint_eq(pinned(&f), BUFFER_SIZE);
    flow_eat(&f, 1);
    ck_assert_ptr_null(f.tail);
    flow_copy(&f, STR("abc"));
    flow_eat(&f, 3);
    ck_assert_ptr_null(f.tail);
    ck_assert_ptr_null(f.first);
}
END_TEST

static int in[2], out[2];       /* what is written to [1] is spliced from [0] */

static void
open_sockets(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, in), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, out), 0);
}

static void
close_sockets(void)
{
    for (int i = 0; i < 2; i++) {
        close(in[i]);
        close(out[i]);
    }
    pipe_flush();
}

START_TEST(splicing_says_why_it_stops)
{
    struct flow f;
    char byte = 'x';
    ssize_t n;
    int calls = 0;

    open_sockets();
    flow_init(&f, 1 << 20);
    ck_assert_int_eq(flow_splice_in(&f, in[0], 100), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_ptr_null(f.pipe);
    /* each write is a page of the pipe: it is full long before its size */
    do {
        ck_assert_int_eq(write(in[1], &byte, 1), 1);
        n = flow_splice_in(&f, in[0], 1);
        calls++;
    } while (n == 1 && calls < 100000);
    ck_assert_int_eq(n, -1);
    ck_assert_int_eq(errno, ENOBUFS);
    ck_assert(f.stopped);
    ck_assert_uint_eq(f.bytes, (size_t)calls - 1);
    ck_assert_uint_lt(f.bytes, f.pipe->size);
    while (f.bytes > 0)
        ck_assert_int_gt(flow_splice_out(&f, out[1]), 0);
    ck_assert_ptr_null(f.pipe);
    ck_assert(flow_resumes(&f));
    ck_assert_int_eq(flow_splice_in(&f, in[0], 100), 1);
    ck_assert_int_eq(flow_splice_in(&f, in[0], 100), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(close(in[1]), 0);
    in[1] = -1;
    ck_assert_int_eq(flow_splice_in(&f, in[0], 100), 0);
    flow_clear(&f);
    close_sockets();
}
END_TEST

START_TEST(splicing_keeps_under_the_mark)
{
    static char bytes[50000];
    struct flow f;

    open_sockets();
    flow_init(&f, 10000);
    ck_assert_int_eq(write(in[1], bytes, sizeof(bytes)), sizeof(bytes));
    while (flow_splice_in(&f, in[0], SIZE_MAX) > 0)
        ;
    ck_assert_int_eq(errno, ENOBUFS);
    ck_assert(f.stopped);
    ck_assert_uint_eq(f.bytes, 10000);
    ck_assert_uint_eq(flow_in_pieces(&f), 0);
    flow_clear(&f);
    close_sockets();
}
END_TEST

START_TEST(what_is_spliced_arrives_after_the_pieces)
{
    static char sent[200000], got[200000];
    struct flow f;
    size_t written = 0, received = 0;
    bool empty = false;

    open_sockets();
    seed = 5;
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (char)rnd();
    flow_init(&f, 1 << 16);
    flow_copy(&f, (struct str){sent, 1000});
    memcpy(got, sent, 1000);
    flow_eat(&f, 1000);
    written = received = 1000;
    while (received < sizeof(sent)) {
        ssize_t n = write(in[1], sent + written, sizeof(sent) - written);

        if (n > 0)
            written += (size_t)n;
        empty = flow_splice_in(&f, in[0], 1 + rnd() % 30000) < 0 && errno == EAGAIN;
        if (f.bytes > 0)
            flow_splice_out(&f, out[1]);
        n = read(out[0], got + received, sizeof(got) - received);
        if (n > 0)
            received += (size_t)n;
        ck_assert(!empty || n > 0 || f.bytes > 0 || written < sizeof(sent));
    }
    ck_assert_int_eq(memcmp(sent, got, sizeof(sent)), 0);
    flow_clear(&f);
    close_sockets();
}
END_TEST

START_TEST(pipes_come_back_empty_or_not_at_all)
{
    struct pipe *p = pipe_get(1 << 17), *again;
    int fd;

    ck_assert_ptr_nonnull(p);
    ck_assert_uint_ge(p->size, 1 << 16);
    fd = p->fd[0];
    pipe_put(p);
    again = pipe_get(1);
    ck_assert_int_eq(again->fd[0], fd);
    ck_assert_int_eq(write(again->fd[1], "x", 1), 1);
    again->bytes = 1;
    pipe_put(again);
    p = pipe_get(1);
    ck_assert_uint_eq(p->bytes, 0);
    pipe_put(p);
    pipe_flush();
}
END_TEST

START_TEST(a_pipe_is_taken_while_it_holds_something)
{
    struct flow a, b;
    int fd;

    open_sockets();
    flow_init(&a, 1 << 16);
    flow_init(&b, 1 << 16);
    ck_assert_int_eq(write(in[1], "one two", 7), 7);
    ck_assert_int_eq(flow_splice_in(&a, in[0], 4), 4);
    fd = a.pipe->fd[0];
    ck_assert_int_eq(flow_splice_out(&a, out[1]), 4);
    ck_assert_ptr_null(a.pipe);
    ck_assert_int_eq(flow_splice_in(&b, in[0], 3), 3);
    ck_assert_int_eq(b.pipe->fd[0], fd);
    flow_spill(&b);
    ck_assert_ptr_null(b.pipe);
    ck_assert_uint_eq(b.bytes, 3);
    ck_assert_uint_eq(b.passed, 3);
    ck_assert_int_eq(memcmp(b.first->p, "two", 3), 0);
    flow_clear(&b);
    close_sockets();
}
END_TEST

START_TEST(no_descriptors_no_pipe)
{
    struct pipe *v[4096];
    struct flow f;
    size_t n = 0;

    while (n < 4096 && (v[n] = pipe_get(1)) != NULL)
        n++;
    ck_assert_uint_lt(n, 4096);
    open_sockets();
    flow_init(&f, 1 << 16);
    ck_assert_int_eq(write(in[1], "one", 3), 3);
    ck_assert_int_eq(flow_splice_in(&f, in[0], 3), -1);
    ck_assert_int_eq(errno, ENFILE);
    ck_assert_uint_eq(f.bytes, 0);
    ck_assert(!f.stopped);
    while (n > 0)
        pipe_put(v[--n]);
    ck_assert_int_eq(flow_splice_in(&f, in[0], 3), 3);
    flow_clear(&f);
    close_sockets();
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("flow");
    TCase *tc = tcase_create("flow");

    suite_add_tcase(s, tc);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_flow_is_a_queue_of_bytes, 0, 4);
    tcase_add_loop_test(tc, moving_copies_nothing_and_loses_nothing, 0, 4);
    tcase_add_test(tc, the_marks_stop_and_resume_once);
    tcase_add_test(tc, clearing_keeps_the_end_and_lets_a_stopped_writer_go_on);
    tcase_add_test(tc, an_iovec_ends_at_most);
    tcase_add_loop_test(tc, short_slices_pin_no_buffer_each, 0, 5);
    tcase_add_test(tc, dripping_reads_fill_buffers);
    tcase_add_test(tc, an_idle_flow_pins_nothing);
    tcase_add_test(tc, splicing_says_why_it_stops);
    tcase_add_test(tc, splicing_keeps_under_the_mark);
    tcase_add_test(tc, what_is_spliced_arrives_after_the_pieces);
    tcase_add_test(tc, pipes_come_back_empty_or_not_at_all);
    tcase_add_test(tc, a_pipe_is_taken_while_it_holds_something);
    tcase_add_test(tc, no_descriptors_no_pipe);
    return unit_run(s);
}
