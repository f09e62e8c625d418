#!/usr/bin/python3
"""The access log: one line for every request, aborted ones too; combined or a format of one's own."""

import re

from lib.weir import OK, Origin, proxy, run, start, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def formatted(weir_of, fmt):
    """weir_of(yaml) with a log of that format."""
    return weir_of(f"access_log: {{path: stderr, format: '[[{fmt}]]'}}")


def line(weir):
    weir.wait_log(r"\[\[.*\]\]")
    return re.search(r"\[\[(.*)\]\]", weir.errors()).group(1)


def test_combined():
    origin = Origin()
    weir = proxy(origin)
    weir.get("/a?b=c", "Referer: http://r/", "User-Agent: u/1.0")
    weir.ask("GET /b HTTP/1.0\r\n\r\n")
    date = r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
    first, second = weir.access(2)
    assert re.fullmatch(rf'127\.0\.0\.1 - - {date} "GET /a\?b=c HTTP/1\.1" 200 2 "http://r/" "u/1\.0"', first), first
    assert re.fullmatch(rf'127\.0\.0\.1 - - {date} "GET /b HTTP/1\.0" 200 2 "-" "-"', second), second


def test_nothing_a_client_sends_breaks_a_line():
    weir = proxy(Origin())
    weir.get("/\"x", 'User-Agent: a" 200 1 "b\\ \xe9\t', "Referer: \x80")
    entry = weir.access()[0]
    assert entry.count('"') - entry.count('\\"') == 6 and not re.search(r"[^ -~]", entry), entry


def test_a_line_that_is_too_long_is_cut():
    weir = proxy(Origin(), "limits: {request_header: 32k, request_headers: 48k}")
    for n in range(8):      # wherever its end comes among the bytes that are written at once
        weir.get("/" + n * "p", "Referer: " + 8000 * "\x80" + 1000 * "r", "User-Agent: u/1.0")
    for entry in weir.access(8):
        assert len(entry) == 32 * 1024 and entry.endswith("rrr"), (len(entry), entry[-9:])


def test_every_request_has_one_line():
    def answer(peer, request):
        if request.target == "/cut":
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        return peer.close() if request.target in ("/cut", "/dead") else OK

    weir = start(f"""
upstreams: {{app: {{servers: ["{Origin(answer).address}"]}}}}
sites: [{{hosts: [t], routes: [{{match: {{path: /r}}, redirect: {{to: /x, status: 301}}}}, {{proxy: app}}]}}]
access_log: {{path: stderr, format: "[[$status $method $uri]]"}}
""")
    c = weir.connect()
    c.send(GET + GET.replace("/ ", "/r ")).response()
    c.response()
    weir.get("/dead")
    try:
        weir.get("/cut")
    except (EOFError, ConnectionResetError):
        pass
    weir.get("/", host="u")
    weir.get("/\\")
    weir.ask("BAD\r\n\r\n")
    want = {"200 GET /", "301 GET /r", "502 GET /dead", "200 GET /cut", "421 GET /", "400 GET /\\\\"}

    def lines():
        return re.findall(r"\[\[(.*)\]\]", weir.errors())
    wait(lambda: len(lines()) >= 7, "seven lines")
    assert len(lines()) == 7 and want - {"400 GET /\\\\"} <= set(lines()), lines()


def test_a_client_that_leaves():
    origin = Origin(lambda peer, _: peer.rest())
    weir = proxy(origin)
    c = weir.connect().send(GET)
    origin.request()
    c.reset()
    assert len(weir.access(1)) == 1


def test_variables_known_at_the_end():
    origin = Origin(OK.replace(b"OK\r\n", b"OK\r\nX-A: b\r\n"))

    def behind(yaml):
        return proxy(origin, yaml)
    weir = formatted(behind, "$status $upstream $upstream_address $upstream_status $upstream_tries $sent_http_x_a")
    weir.get()
    assert line(weir) == f"200 app {origin.address} 200 1 b"
    weir = formatted(behind, "$request_time $connect_time $header_time $response_time $msec")
    weir.get()
    assert re.fullmatch(r"(\d+\.\d{3,6} ){4}\d+\.\d{3}", line(weir)), line(weir)
    weir = formatted(behind, "$time|$bytes_received|$bytes_sent")
    request = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"
    c = weir.connect().send(request)
    c.response()
    time, received, sent = line(weir).split("|")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", time), time
    assert int(received) == len(request) and int(sent) > 50, line(weir)


def test_unknown_values_are_a_dash():
    weir = formatted(lambda y: start("sites: [{hosts: [t], routes: [{respond: {status: 200}}]}]\n" + y),
                     "$upstream_address $http_x_none $arg_a")
    weir.get()
    assert line(weir) == "- - -"


def test_off_and_levels():
    weir = start("""
sites:
  - hosts: [t]
    routes:
      - {match: {path: /off}, access_log: off, respond: {status: 200}}
      - {match: {path: /own}, access_log: {format: "own $uri"}, respond: {status: 200}}
      - {respond: {status: 200}}
""")
    c = weir.connect()
    for target in ["/off", "/own", "/off", "/"]:
        c.ask(GET.replace("/ ", f"{target} "))
    lines = weir.access(2)
    assert lines[0] == "own /own" and '"GET / HTTP/1.1"' in lines[1] and len(lines) == 2, lines


if __name__ == "__main__":
    run()
