/* Content from a socket into a flow: the ways it takes, and that their order is the order of its bytes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "t/unit/unit.h"
#include "worker/base/pipe.h"
#include "worker/h1/reader.h"

#define HIGH (64 * 1024)
#define ENOUGH (1024 * 1024)

static int ends[2];
static struct channel ch;
static struct h1_reader reader;
static struct flow body;
static char sent[2 * HIGH];

static void
set_up(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    ch = (struct channel){.io.fd = ends[0]};
    reader = (struct h1_reader){.ch = &ch};
    flow_init(&body, HIGH);
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (char)(i * 7 + i / 251);
}

static void
tear_down(void)
{
    flow_clear(&body);
    h1_reader_drop(&reader);
    pipe_flush();
    close(ends[0]);
    close(ends[1]);
}

static enum h1_read
arrives(size_t from, size_t n)
{
    size_t budget = ENOUGH;

    ck_assert_int_eq(write(ends[1], sent + from, n), (ssize_t)n);
    ch.io.readable = true;
    return h1_read_body(&reader, &body, true, &budget);
}

static size_t
take_pieces(char *to)
{
    struct iovec iov;
    size_t at = 0;

    while (flow_iov(&body, &iov, 1, SIZE_MAX) > 0) {
        memcpy(to + at, iov.iov_base, iov.iov_len);
        at += iov.iov_len;
        flow_eat(&body, iov.iov_len);
    }
    return at;
}

/* All that the flow holds, pieces and pipe, is this part of what was sent. */
static void
expect_content(size_t n)
{
    char *got = malloc(n);
    size_t at;

    ck_assert_uint_eq(body.bytes, n);
    at = take_pieces(got);
    if (body.pipe != NULL && body.pipe->bytes > 0) {
        flow_spill(&body);
        at += take_pieces(got + at);
    }
    ck_assert_uint_eq(at, n);
    ck_assert_mem_eq(got, sent, n);
    free(got);
}

/* The reader of the flow is slow: what is left comes while the pipe still holds what came before. */
START_TEST(a_short_rest_goes_behind_the_pipe)
{
    reader.framing = H1_LENGTH;
    reader.left = 45000;
    ck_assert_int_eq(arrives(0, 40000), H1_READ_WAIT);
    ck_assert_ptr_nonnull(body.pipe);
    ck_assert_uint_gt(body.pipe->bytes, 0);
    ck_assert_int_eq(arrives(40000, 2000), H1_READ_WAIT);
    ck_assert_int_eq(arrives(42000, 3000), H1_READ_END);
    expect_content(45000);
}
END_TEST

START_TEST(a_short_body_leaves_what_follows_it)
{
    reader.framing = H1_LENGTH;
    reader.left = 3000;
    ck_assert_int_eq(arrives(0, 1000), H1_READ_WAIT);
    ck_assert(!ch.io.readable);
    ck_assert_int_eq(arrives(1000, 2500), H1_READ_END);
    ck_assert(h1_reader_has(&reader));
    ck_assert_uint_eq(reader.in->fill - reader.at, 500);
    ck_assert_ptr_null(body.pipe);
    expect_content(3000);
}
END_TEST

START_TEST(a_long_one_stops_at_the_mark)
{
    reader.framing = H1_LENGTH;
    reader.left = sizeof sent;
    ck_assert_int_eq(arrives(0, HIGH + 1000), H1_READ_WAIT);
    ck_assert_uint_le(body.bytes, HIGH);
    ck_assert(body.stopped);
}
END_TEST

START_TEST(an_end_in_the_middle_is_none)
{
    size_t budget = ENOUGH;

    reader.framing = H1_LENGTH;
    reader.left = 3000;
    ck_assert_int_eq(arrives(0, 1000), H1_READ_WAIT);
    close(ends[1]);
    ends[1] = dup(ends[0]);
    ch.io.readable = ch.io.hangup = true;
    ck_assert_int_eq(h1_read_body(&reader, &body, true, &budget), H1_READ_EOF);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("reader");
    TCase *t = tcase_create("reader");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, a_short_rest_goes_behind_the_pipe);
    tcase_add_test(t, a_short_body_leaves_what_follows_it);
    tcase_add_test(t, a_long_one_stops_at_the_mark);
    tcase_add_test(t, an_end_in_the_middle_is_none);
    return unit_run(s);
}
