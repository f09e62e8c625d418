/*
 * Knows how the started process and the daemon part. Until then the daemon keeps stderr, so that what
 * goes wrong is read where weir was started. Whatever else the caller left open is closed: a shell that
 * waits for the end of a pipe does not wait for the daemon.
 */
#include "master/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void
wait_for(int started, pid_t child)
{
    char byte;
    int status;
    ssize_t n;

    do
        n = read(started, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(0);
    if (waitpid(child, &status, 0) == child && WIFSIGNALED(status))
        fprintf(stderr, "weir: the daemon was killed by signal %d (%s)\n", WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    _exit(1);
}

void
daemon_standard_files(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int
daemon_start(void)
{
    int pair[2];
    pid_t pid;

    close_range(STDERR_FILENO + 1, ~0U, 0);
    if (pipe2(pair, O_CLOEXEC) != 0 || (pid = fork()) < 0)
        return -1;
    if (pid > 0) {
        close(pair[1]);
        wait_for(pair[0], pid);
    }
    close(pair[0]);
    setsid();
    return pair[1];
}

void
daemon_leave_terminal(bool keep_stderr)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        if (!keep_stderr)
            dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
}

void
daemon_running(int started, bool keep_stderr)
{
    daemon_leave_terminal(keep_stderr);
    if (write(started, "", 1) != 1)
        fprintf(stderr, "weir: cannot tell that it runs: %s\n", strerror(errno));
    close(started);
}
