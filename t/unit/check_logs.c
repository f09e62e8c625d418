/* Access logs that are slow, full or gone; the error log's lines. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "t/unit/unit.h"
#include "worker/base/log.h"
#include "worker/logs.h"

static struct log_target kinds[2];
static struct conf conf = {.logs = kinds, .log_count = 2, .error_log = 1, .log_level = LOG_LEVEL_NOTICE};
static uint64_t lost;
static char path[] = "/tmp/check_logs.XXXXXX";
static char got[1 << 20];
static size_t got_n;

static void
begin(enum log_kind kind, int fd)
{
    int fds[2] = {fd, -1};

    signal(SIGPIPE, SIG_IGN);
    kinds[0].kind = kind;
    lost = 0;
    got_n = 0;
    logs_init(&conf, fds, &lost);
}

static int
open_file(void)
{
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    close(fd);
    return open(path, O_WRONLY | O_APPEND);
}

static void
read_all(int fd)
{
    ssize_t n;

    while ((n = read(fd, got + got_n, sizeof(got) - got_n)) > 0)
        got_n += (size_t)n;
}

static void
read_file(void)
{
    int fd = open(path, O_RDONLY);

    got_n = 0;
    read_all(fd);
    close(fd);
}

static void
numbered(int i)
{
    char line[64];
    int n = snprintf(line, sizeof(line), "line %d of many, so that there are enough", i);

    logs_line(0, (struct str){line, (size_t)n});
}

static unsigned calls;          /* of fcntl and sched_yield, which stand here in the place of libc's */

int
fcntl(int fd, int command, ...)
{
    va_list ap;
    long arg;

    va_start(ap, command);
    arg = va_arg(ap, long);
    va_end(ap);
    calls++;
    return (int)syscall(SYS_fcntl, fd, command, arg);
}

int
sched_yield(void)
{
    calls++;
    return 0;
}

/* Every line is whole and they come in order; the numbers that are missing are `missing`. */
static void
lines_are_whole(int count, uint64_t missing)
{
    char *at = got, *end = got + got_n;
    int seen = 0, last = -1, number;

    while (at < end) {
        char *nl = memchr(at, '\n', (size_t)(end - at));

        ck_assert_ptr_nonnull(nl);
        *nl = '\0';
        ck_assert_msg(sscanf(at, "line %d of many", &number) == 1, "torn: %s", at);
        ck_assert_msg(strstr(at, "are enough") != NULL && strlen(strstr(at, "are enough")) == 10, "torn: %s", at);
        ck_assert_int_gt(number, last);
        last = number;
        seen++;
        at = nl + 1;
    }
    ck_assert_uint_eq((uint64_t)seen + missing, (uint64_t)count);
}

START_TEST(lines_wait_for_the_flush)
{
    begin(LOG_TO_FILE, open_file());
    logs_line(0, STR("one"));
    logs_line(0, STR(""));
    logs_line(0, STR("three"));
    read_file();
    ck_assert_uint_eq(got_n, 0);
    logs_flush();
    read_file();
    ck_assert_str_eq(got, "one\n\nthree\n");
    ck_assert_uint_eq(lost, 0);
    unlink(path);
}
END_TEST

START_TEST(a_full_buffer_is_written)
{
    begin(LOG_TO_FILE, open_file());
    for (int i = 0; i < 5000; i++)
        numbered(i);
    read_file();
    ck_assert_uint_gt(got_n, 64 * 1024);
    logs_flush();
    read_file();
    lines_are_whole(5000, 0);
    ck_assert_uint_eq(lost, 0);
    unlink(path);
}
END_TEST

START_TEST(a_very_long_line_is_cut)
{
    static char line[100000];

    begin(LOG_TO_FILE, open_file());
    memset(line, 'x', sizeof(line));
    for (int i = 0; i < 4; i++)
        logs_line(0, (struct str){line, sizeof(line)});
    logs_line(0, STR("end"));
    logs_flush();
    read_file();
    ck_assert_uint_eq(got_n, 4 * (32 * 1024 + 1) + 4);
    ck_assert_uint_eq(lost, 0);
    unlink(path);
}
END_TEST

/* A file that may not grow gives short writes and errors, as a full disk does. */
START_TEST(a_full_disk_drops_lines_and_tears_none)
{
    struct rlimit limit = {70001, RLIM_INFINITY};

    signal(SIGXFSZ, SIG_IGN);
    begin(LOG_TO_FILE, open_file());
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 10000; i++)
        numbered(i);
    ck_assert_uint_gt(lost, 0);
    logs_flush();
    read_file();
    ck_assert_uint_eq(got_n, 70001);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    logs_flush();
    for (int i = 10000; i < 10010; i++)
        numbered(i);
    logs_flush();
    read_file();
    lines_are_whole(10010, lost);
    unlink(path);
}
END_TEST

/* Another worker, whom nothing hinders, with a line of its own; asked twice to write. */
static void
second_worker(int ask, int answer)
{
    int fds[2] = {open(path, O_WRONLY | O_APPEND), -1};
    uint64_t lost_here = 0;
    char c;

    logs_init(&conf, fds, &lost_here);
    numbered(20000);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(read(ask, &c, 1), 1);
        logs_flush();
        ck_assert_int_eq(write(answer, "x", 1), 1);
    }
    _exit(0);
}

static void
let_write(int ask, int answer)
{
    char c;

    ck_assert_int_eq(write(ask, "x", 1), 1);
    ck_assert_int_eq(read(answer, &c, 1), 1);
}

START_TEST(a_torn_line_is_finished_before_another_worker_writes)
{
    struct rlimit limit = {70001, RLIM_INFINITY};
    int ask[2], answer[2];

    signal(SIGXFSZ, SIG_IGN);
    begin(LOG_TO_FILE, open_file());
    ck_assert_int_eq(pipe(ask) | pipe(answer), 0);
    if (fork() == 0)
        second_worker(ask[0], answer[1]);
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 10000; i++)
        numbered(i);
    let_write(ask[1], answer[0]);
    read_file();
    ck_assert_uint_eq(got_n, 70001);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    logs_flush();
    let_write(ask[1], answer[0]);
    read_file();
    lines_are_whole(10001, lost);
    unlink(path);
}
END_TEST

/* A process that hangs with the lock of the file, until it is killed. */
static pid_t
hang_with_the_lock(void)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    int ready[2];
    pid_t pid;
    char c;

    ck_assert_int_eq(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (fcntl(open(path, O_RDWR), F_SETLK, &l) != 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    return pid;
}

START_TEST(a_worker_that_hangs_with_the_lock_costs_no_calls)
{
    unsigned filling;
    pid_t pid;

    begin(LOG_TO_FILE, open_file());
    pid = hang_with_the_lock();
    calls = 0;
    for (int i = 0; i < 10000; i++)
        numbered(i);
    filling = calls;
    ck_assert_uint_gt(filling, 0);
    ck_assert_uint_lt(filling, 500);
    ck_assert_uint_gt(lost, 0);
    for (int i = 10000; i < 20000; i++)
        numbered(i);
    ck_assert_uint_eq(calls, filling);
    logs_flush();
    ck_assert_uint_lt(calls, 2 * filling);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    logs_flush();
    read_file();
    lines_are_whole(20000, lost);
    unlink(path);
}
END_TEST

START_TEST(a_slow_reader_blocks_nobody)
{
    int fd[2];

    ck_assert_int_eq(pipe(fd), 0);
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    begin(LOG_TO_STDERR, fd[1]);
    for (int i = 0; i < 20000; i++)
        numbered(i);
    ck_assert_uint_gt(lost, 0);
    for (int i = 0; i < 10; i++) {
        read_all(fd[0]);
        logs_flush();
    }
    read_all(fd[0]);
    lines_are_whole(20000, lost);
}
END_TEST

START_TEST(a_stream_socket_blocks_nobody)
{
    int fd[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    begin(LOG_TO_STDERR, fd[1]);
    for (int i = 0; i < 20000; i++)
        numbered(i);
    for (int i = 0; i < 50; i++) {
        read_all(fd[0]);
        logs_flush();
    }
    read_all(fd[0]);
    lines_are_whole(20000, lost);
}
END_TEST

START_TEST(a_reader_that_is_gone_is_no_error)
{
    int fd[2];

    ck_assert_int_eq(pipe(fd), 0);
    close(fd[0]);
    begin(LOG_TO_STDERR, fd[1]);
    for (int i = 0; i < 10000; i++)
        numbered(i);
    logs_flush();
    ck_assert_uint_gt(lost, 0);
}
END_TEST

START_TEST(syslog_takes_a_datagram_a_line)
{
    int fd[2];
    char want[64];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), 0);
    begin(LOG_TO_SYSLOG, fd[1]);
    logs_line(0, STR("hello"));
    snprintf(want, sizeof(want), "<30>weir[%d]: hello", (int)getpid());
    got[recv(fd[0], got, sizeof(got) - 1, MSG_DONTWAIT)] = '\0';
    ck_assert_str_eq(got, want);
    for (int i = 0; i < 5000; i++)
        numbered(i);
    ck_assert_uint_gt(lost, 0);
}
END_TEST

START_TEST(a_reopened_log_gets_what_follows)
{
    int first, second;
    char old[sizeof(path)];

    first = open_file();
    strcpy(old, path);
    begin(LOG_TO_FILE, first);
    logs_line(0, STR("before"));
    strcpy(path, "/tmp/check_logs.XXXXXX");
    second = open_file();
    logs_reopen(&second, 1, 0);
    ck_assert_int_eq(fcntl(first, F_GETFD), -1);
    logs_line(0, STR("after"));
    logs_flush();
    read_file();
    ck_assert_str_eq(got, "after\n");
    unlink(path);
    strcpy(path, old);
    memset(got, 0, 16);
    read_file();
    ck_assert_str_eq(got, "before\n");
    unlink(path);
}
END_TEST

/* A disk that is full in the middle of a line, and then another file: it gets whole lines alone. */
START_TEST(a_reopened_log_begins_with_a_whole_line)
{
    struct rlimit limit = {70001, RLIM_INFINITY};
    int second;

    signal(SIGXFSZ, SIG_IGN);
    begin(LOG_TO_FILE, open_file());
    unlink(path);
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 10000; i++)
        numbered(i);
    logs_flush();
    strcpy(path, "/tmp/check_logs.XXXXXX");
    second = open_file();
    logs_reopen(&second, 1, 0);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    logs_flush();
    read_file();
    ck_assert_uint_gt(got_n, 50000);
    for (char *at = got; at < got + got_n; at = memchr(at, '\n', sizeof(got)) + 1)
        ck_assert_msg(strncmp(at, "line ", 5) == 0, "%.20s", at);
    unlink(path);
}
END_TEST

START_TEST(no_descriptor_no_line)
{
    begin(LOG_TO_FILE, -1);
    logs_line(0, STR("nobody reads this"));
    logs_flush();
    ck_assert_uint_eq(lost, 0);
}
END_TEST

static void
error_line(int fd)
{
    got_n = (size_t)read(fd, got, sizeof(got) - 1);
    got[got_n] = '\0';
}

START_TEST(a_peer_forges_no_line)
{
    int fd[2];

    ck_assert_int_eq(pipe(fd), 0);
    log_to(fd[1], false, LOG_NOTICE_);
    log_as("worker %d", 3);
    log_notice("got `%s`", "a\nb\r\t\x1b[2J\x7f\xc3\xa4");
    error_line(fd[0]);
    ck_assert_msg(strcmp(got + 24, " [notice] worker 3: got `a\\x0Ab\\x0D\\x09\\x1B[2J\\x7F\\xC3\\xA4`\n") == 0,
                  "%s", got);
}
END_TEST

START_TEST(an_error_line_is_bounded)
{
    static char text[10000];
    int fd[2];

    ck_assert_int_eq(pipe(fd), 0);
    log_to(fd[1], false, LOG_DEBUG_);
    memset(text, 'x', sizeof(text) - 1);
    log_debug("%s", text);
    error_line(fd[0]);
    ck_assert_uint_eq(got_n, 4096);
    ck_assert_int_eq(got[4095], '\n');
    memset(text, '\n', sizeof(text) - 1);
    log_debug("%s", text);
    error_line(fd[0]);
    ck_assert_uint_le(got_n, 4096);
    ck_assert_ptr_eq(strchr(got, '\n'), got + got_n - 1);
}
END_TEST

START_TEST(levels_are_kept_apart)
{
    int fd[2];

    ck_assert_int_eq(pipe(fd), 0);
    log_to(fd[1], false, LOG_WARNING_);
    ck_assert(!log_on(LOG_NOTICE_));
    log_notice("no");
    log_warning("yes");
    error_line(fd[0]);
    ck_assert_ptr_nonnull(strstr(got, "[warning] "));
    ck_assert_ptr_null(strstr(got, "no"));
}
END_TEST

START_TEST(syslog_knows_the_level)
{
    int fd[2];
    char want[64];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd), 0);
    log_to(fd[1], true, LOG_DEBUG_);
    log_as("master");
    log_error("oh");
    error_line(fd[0]);
    snprintf(want, sizeof(want), "<27>weir[%d]: [error] master: oh", (int)getpid());
    ck_assert_str_eq(got, want);
}
END_TEST

START_TEST(errno_survives_logging)
{
    log_to(-1, false, LOG_DEBUG_);
    errno = EDOM;
    log_error("x");
    ck_assert_int_eq(errno, EDOM);
    log_to(1000, false, LOG_DEBUG_);
    log_error("x");
    ck_assert_int_eq(errno, EDOM);
}
END_TEST

START_TEST(the_error_log_follows_its_target)
{
    int fd[2], fds[2];

    ck_assert_int_eq(pipe(fd), 0);
    begin(LOG_TO_FILE, -1);
    fds[0] = dup(fd[1]);
    logs_reopen(fds, 1, 1);
    log_error("here");
    error_line(fd[0]);
    ck_assert_ptr_nonnull(strstr(got, "here\n"));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("logs");
    TCase *tc = tcase_create("logs");

    suite_add_tcase(s, tc);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, lines_wait_for_the_flush);
    tcase_add_test(tc, a_full_buffer_is_written);
    tcase_add_test(tc, a_very_long_line_is_cut);
    tcase_add_test(tc, a_full_disk_drops_lines_and_tears_none);
    tcase_add_test(tc, a_torn_line_is_finished_before_another_worker_writes);
    tcase_add_test(tc, a_worker_that_hangs_with_the_lock_costs_no_calls);
    tcase_add_test(tc, a_slow_reader_blocks_nobody);
    tcase_add_test(tc, a_stream_socket_blocks_nobody);
    tcase_add_test(tc, a_reader_that_is_gone_is_no_error);
    tcase_add_test(tc, syslog_takes_a_datagram_a_line);
    tcase_add_test(tc, a_reopened_log_gets_what_follows);
    tcase_add_test(tc, a_reopened_log_begins_with_a_whole_line);
    tcase_add_test(tc, no_descriptor_no_line);
    tcase_add_test(tc, a_peer_forges_no_line);
    tcase_add_test(tc, an_error_line_is_bounded);
    tcase_add_test(tc, levels_are_kept_apart);
    tcase_add_test(tc, syslog_knows_the_level);
    tcase_add_test(tc, errno_survives_logging);
    tcase_add_test(tc, the_error_log_follows_its_target);
    return unit_run(s);
}
