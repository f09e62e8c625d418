/*
 * Knows the command line, and how -l and -u become a configuration: as text, through the loader like
 * any other, so that there is no second way to configure anything. What is wrong with an argument is
 * said here, in terms of the option, before the loader would speak of a file that nobody wrote.
 */
#include "master/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "worker/base/addr.h"
#include "worker/base/arena.h"

#ifndef SYSCONFDIR
#define SYSCONFDIR "/etc"
#endif

static const char usage[] =
    "usage: weir [-c FILE] [-f] [-t]\n"
    "       weir -l ADDRESS:PORT... -u http://HOST[:PORT]...\n"
    "       weir [-c FILE] -T METHOD URL [-H 'NAME: VALUE']... [--from ADDRESS] [--listen NAME]\n"
    "       weir -k | -V | -h\n"
    "\n"
    "  -c FILE               the configuration; default " SYSCONFDIR "/weir/weir.yaml\n"
    "  -f                    stay in the foreground\n"
    "  -t                    only check the configuration\n"
    "  -l ADDRESS:PORT       without a file: accept here,\n"
    "  -u http://HOST:PORT   forward there; in the foreground, logs on stderr\n"
    "  -T METHOD URL         tell what such a request would meet, line by line of the file\n"
    "  -H 'NAME: VALUE'      a header of it; may be given more than once\n"
    "  --from ADDRESS        whom it comes from; default 127.0.0.1\n"
    "  --listen NAME         where it comes in, by name or address; default as the URL says\n"
    "  -k                    list all keys of the configuration\n"
    "  -V                    print the version\n"
    "  -h                    print this\n";

static const char frame[] =
    "pid_file: off\n"
    "stats_file: off\n"
    "error_log: stderr\n"
    "access_log: {path: stderr}\n"
    "sites:\n"
    "  - hosts: [\"*\"]\n"
    "    routes:\n"
    "      - proxy: default\n";

/* What is being read: `listen` and `servers` are the YAML so far. */
struct parse {
    struct options *o;
    struct arena *arena;
    struct str listen;
    struct str servers;
    int argc;
    char **argv;
};

enum { LONG_FROM = 1, LONG_LISTEN };

static const struct option long_options[] = {
    {"from", required_argument, NULL, LONG_FROM},
    {"listen", required_argument, NULL, LONG_LISTEN},
    {NULL, 0, NULL, 0},
};

const char *
options_version(void)
{
    return PACKAGE_VERSION;
}

static _Noreturn void __attribute__((format(printf, 1, 2)))
refuse(const char *fmt, ...)
{
    va_list ap;

    fputs("weir: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\nTry `weir -h`.\n", stderr);
    exit(2);
}

/* One more element of a list in YAML's flow style. Nothing in an address needs escaping. */
static void
append(struct parse *p, struct str *list, const char *key, struct str value)
{
    *list = arena_printf(p->arena, "%.*s%s{%s: \"%.*s\"}", STR_ARG(*list), list->n > 0 ? ", " : "", key,
                         STR_ARG(value));
}

/* Nobody has to wait for a resolver to hear where this machine is; a listener cannot have a name at all. */
static struct str
numeric(struct parse *p, struct str host_port)
{
    struct str local = STR("localhost:");

    if (!str_starts(host_port, local))
        return host_port;
    return arena_printf(p->arena, "127.0.0.1:%.*s", (int)(host_port.n - local.n), host_port.p + local.n);
}

static struct str
checked(struct parse *p, char option, const char *given, struct str address)
{
    struct addr a;
    const char *why;

    address = numeric(p, address);
    if (option == 'u' && addr_is_name(address))
        return address;
    if (addr_parse(&a, address, &why) != 0)
        refuse("-%c %s: %s", option, given, why);
    if (memchr(address.p, '"', address.n) != NULL || memchr(address.p, '\\', address.n) != NULL)
        refuse("-%c %s: not an address", option, given);
    return address;
}

static void
add_listen(struct parse *p, const char *given)
{
    append(p, &p->listen, "address", checked(p, 'l', given, str_of(given)));
}

static bool
has_port(struct str s)
{
    const char *colon = memrchr(s.p, ':', s.n), *bracket = memrchr(s.p, ']', s.n);

    return colon != NULL && (bracket == NULL || colon > bracket);
}

static void
add_upstream(struct parse *p, const char *given)
{
    struct str s = str_of(given), scheme = STR("http://");

    if (!str_starts(s, scheme))
        refuse("-u %s: must begin with http://", given);
    s.p += scheme.n;
    s.n -= scheme.n;
    if (s.n > 0 && s.p[s.n - 1] == '/')
        s.n--;
    if (memchr(s.p, '/', s.n) != NULL && !str_starts(s, STR("unix:")))
        refuse("-u %s: a path is not possible here", given);
    if (!str_starts(s, STR("unix:")) && !has_port(s))
        s = arena_printf(p->arena, "%.*s:80", STR_ARG(s));
    append(p, &p->servers, "address", checked(p, 'u', given, s));
}

static const char *
absolute(struct arena *arena, const char *path)
{
    char *here;
    struct str s;

    if (path[0] == '/' || (here = getcwd(NULL, 0)) == NULL)
        return path;
    s = arena_printf(arena, "%s/%s", here, path);
    free(here);
    return arena_cstr(arena, s);
}

/* Two values: getopt gave the first. */
static void
ask(struct parse *p, const char *method)
{
    struct ask *a = &p->o->ask;

    if (a->method != NULL)
        refuse("-T: one request at a time");
    if (optind == p->argc)
        refuse("-T wants a method and a URL");
    a->method = method;
    a->url = p->argv[optind++];
    p->o->action = ACTION_EXPLAIN;
}

static void
add_header(struct parse *p, const char *header)
{
    struct ask *a = &p->o->ask;

    if (a->headers == NULL)
        a->headers = arena_alloc(p->arena, (size_t)p->argc * sizeof *a->headers);
    a->headers[a->header_count++] = header;
}

/* "www.example.com/": a target that begins with a host, as only CONNECT's does. */
static bool
lacks_scheme(const struct ask *a)
{
    size_t host = strspn(a->url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]");

    return host > 0 && (a->url[host] == '/' || a->url[host] == '\0') && strpbrk(a->url, ".:") != NULL &&
           strstr(a->url, "://") == NULL && strcmp(a->method, "CONNECT") != 0;
}

/* Options of the question, which mean nothing without it. */
static void
check_ask(const struct options *o)
{
    const struct ask *a = &o->ask;
    const char *why;

    if (a->method == NULL && (a->header_count > 0 || a->from != NULL || a->listen != NULL))
        refuse("-H, --from and --listen go with -T");
    if (a->method != NULL && o->action != ACTION_EXPLAIN)
        refuse("-T goes with no other action");
    if (a->method != NULL && (why = explain_refuses(a)) != NULL)
        refuse("%s", why);
    if (a->method != NULL && lacks_scheme(a))
        fprintf(stderr, "weir: -T %s %s: that is no URL, and is asked for as it stands; http://%s may be meant\n",
                a->method, a->url, a->url);
}

static _Noreturn void
refuse_option(const struct parse *p)
{
    if (optopt == 0)
        refuse("there is no option %s", p->argv[optind - 1]);
    refuse("there is no option -%c", optopt);
}

static void
take(struct parse *p, int option, const char *value)
{
    struct options *o = p->o;

    switch (option) {
    case 'c': o->file = value; break;
    case 'f': o->foreground = true; break;
    case 't': o->action = ACTION_CHECK; break;
    case 'k': o->action = ACTION_KEYS; break;
    case 'V': o->action = ACTION_VERSION; break;
    case 'l': add_listen(p, value); break;
    case 'u': add_upstream(p, value); break;
    case 'T': ask(p, value); break;
    case 'H': add_header(p, value); break;
    case LONG_FROM: o->ask.from = value; break;
    case LONG_LISTEN: o->ask.listen = value; break;
    case 'h':
        fputs(usage, stdout);
        exit(0);
    case ':':
        if (optopt == LONG_FROM || optopt == LONG_LISTEN)
            refuse("option --%s needs a value", long_options[optopt - 1].name);
        refuse("option -%c needs a value", optopt);
    default: refuse_option(p);
    }
}

static void
make_text(struct parse *p)
{
    if (p->listen.n == 0 || p->servers.n == 0)
        refuse("-l and -u go together");
    if (p->o->file != NULL)
        refuse("either a file (-c), or -l and -u");
    p->o->text = arena_printf(p->arena, "listen: [%.*s]\nupstreams: {default: {servers: [%.*s]}}\n%s",
                              STR_ARG(p->listen), STR_ARG(p->servers), frame);
    p->o->foreground = true;
}

void
options_parse(struct options *o, int argc, char **argv)
{
    static struct arena *arena;         /* lives as long as the process */
    struct parse p = {o, arena = arena_new(), STR_NONE, STR_NONE, argc, argv};
    int option;

    *o = (struct options){0};
    while ((option = getopt_long(argc, argv, ":c:fl:u:tkVhT:H:", long_options, NULL)) != -1)
        take(&p, option, optarg);
    if (optind < argc)
        refuse("%s: only options are taken", argv[optind]);
    check_ask(o);
    if (p.listen.n > 0 || p.servers.n > 0) {
        make_text(&p);
        return;
    }
    if (o->file == NULL)
        o->file = SYSCONFDIR "/weir/weir.yaml";
    if (o->action == ACTION_RUN)
        o->file = absolute(arena, o->file);
}

struct conf *
options_load(const struct options *o, struct findings *findings)
{
    if (o->text.n > 0)
        return load_text("the options", o->text, findings);
    return o->action == ACTION_EXPLAIN ? load_file_alone(o->file, findings) : load_file(o->file, findings);
}
