#!/usr/bin/python3
"""The access log as JSON: every line one object whatever a client sends; secrets in no format; full disks."""

import json
import os
import random
import re
import subprocess
import time

from lib.weir import BIN, DEADLINE, OK, Origin, Skip, cleanups, proxy, run, run_command, start, temp_dir, wait

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
ANSWER = 'sites: [{hosts: ["*"], routes: [{name: r, respond: {body: ok}}]}]\n'
MEMBERS = """time request_id client_ip client_port scheme protocol method host port uri path referer user_agent status
bytes_received bytes_sent site route upstream upstream_address upstream_status upstream_tries request_time connect_time
header_time response_time cache tls_version tls_cipher sni""".split()
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def json_log(text, more="", **how):
    path = os.path.join(temp_dir(), "access.json")
    weir = start(f"{text}\naccess_log: {{path: {path}, format: json}}\n{more}", **how)
    weir.access_log = path
    return weir


def lines(weir, n):
    return [json.loads(line) for line in weir.access(n)]


def test_a_proxied_request():
    origin = Origin()
    weir = json_log(f'upstreams: {{app: {{servers: ["{origin.address}"]}}}}\n'
                    'sites: [{hosts: [t], routes: [{name: r, proxy: app}]}]')
    request = "POST /a%2e/../b?c=d HTTP/1.1\r\nHost: T:80\r\nReferer: http://r/\r\nUser-Agent: u/1\r\n" \
              "X-Request-ID: abc\r\nContent-Length: 2\r\n\r\nok"
    c = weir.connect()
    c.ask(request)
    got = lines(weir, 1)[0]
    assert list(got) == MEMBERS, got
    want = dict(client_ip="127.0.0.1", client_port=c.sock.getsockname()[1], scheme="http", protocol="HTTP/1.1",
                method="POST", host="t", port=weir.port, uri="/a%2e/../b?c=d", path="/b", referer="http://r/",
                user_agent="u/1", status=200, bytes_received=len(request), site="t", route="r", upstream="app",
                upstream_address=origin.address, upstream_status=200, upstream_tries=1)
    assert {k: got[k] for k in want} == want, got
    assert re.fullmatch(TIME, got["time"]) and got["request_id"], got
    for name in ["request_time", "connect_time", "header_time", "response_time"]:
        assert 0 <= got[name] < 60, got


def test_requests_that_go_wrong():
    def answer(peer, request):
        if request.target == "/cut":
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        return peer.close()

    weir = json_log(f'upstreams: {{app: {{servers: ["{Origin(answer).address}"]}}}}\n'
                    'sites: [{hosts: [t], routes: [{proxy: app}]}]')
    for data in ["BAD\r\n\r\n", GET.replace("/ ", "/dead "), GET.replace("/ ", "/cut "), "GET / HTTP/1.1\r\n\r\n",
                 "G\"ET / HTTP/1.1\r\nHost: t\r\n\r\n", "GET /\\ HTTP/1.1\r\nHost: t\r\n\r\n",
                 GET.replace("Host: t", "Host: u")]:
        try:
            weir.ask(data)
        except (EOFError, ConnectionResetError):
            pass
    got = lines(weir, 7)
    assert len(got) == 7 and all(list(g) == MEMBERS for g in got), got
    by = {g["uri"]: g for g in got}
    assert by["/dead"]["status"] == 502 and by["/cut"]["status"] == 200, by
    assert {g["status"] for g in got} == {200, 400, 421, 502}, got


def decoded(data):
    """As the log has it: UTF-8, and each byte that is none as the code point of its number."""
    text = ""
    while data:
        try:
            return text + data.decode("utf-8")
        except UnicodeDecodeError as e:
            text += data[:e.start].decode("utf-8") + chr(data[e.start])
            data = data[e.start + 1:]
    return text


def test_any_bytes_come_back():
    weir = json_log(ANSWER)
    rng = random.Random(3)
    sent = []
    c = weir.connect()
    for i in range(300):
        pieces = [bytes([rng.choice([*range(33, 127), *range(128, 256)])]), "ü€😀".encode(), b"\\u0041", b'"},{"',
                  b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xc2\x9b", b"a\tb"]
        sent.append(b"".join(rng.choice(pieces) for _ in range(rng.randrange(1, 40))))
        c.ask(b"GET /%d HTTP/1.1\r\nHost: t\r\nUser-Agent: %s\r\nReferer: %s\r\n\r\n" % (i, sent[i], sent[i][::-1]))
    with_bytes = weir.access(300)
    for i, line in enumerate(with_bytes):
        assert not re.search("[\x00-\x1f\x7f-\x9f]", line), line
        got = json.loads(line)
        assert got["uri"] == f"/{i}" and got["user_agent"] == decoded(sent[i]).strip("\t"), (sent[i], line)
        assert got["referer"] == decoded(sent[i][::-1]).strip("\t"), (sent[i], line)


def test_long_values_are_cut_and_the_line_is_whole():
    weir = json_log(ANSWER, "limits: {request_line: 60k, request_header: 60k, request_headers: 200k}\n")
    long = "x" * 50000
    weir.ask(f"GET /{long}?\" HTTP/1.1\r\nHost: t\r\nUser-Agent: {long}\r\nReferer: {chr(0xe9) * 50000}\r\n\r\n")
    weir.ask(f"GET /{long} HTTP/1.1\r\nHost: {'h' * 20000}\r\n\r\n")
    raw = weir.access(2)
    got = [json.loads(line) for line in raw]
    assert all(len(line) < 32768 and list(g) == MEMBERS for line, g in zip(raw, got)), raw
    assert got[0]["user_agent"] == "x" * 4096 and len(got[0]["uri"]) == 8192, got[0]
    assert got[0]["referer"] == "\xe9" * (4096 // 6), got[0]


SECRETS = ["cookie-secret", "basic-secret", "proxy-secret", "set-secret"]
SECRETIVE = "Cookie: a=cookie-secret; my-b=cookie-secret\r\nAuthorization: Basic basic-secret\r\n" \
            "Proxy-Authorization: Basic proxy-secret\r\n"


def test_secrets_are_in_no_format():
    origin = Origin(OK.replace(b"OK\r\n", b"OK\r\nSet-Cookie: c=set-secret\r\n"))
    formats = ["json", "combined",
               "$http_cookie|$http_COOKIE|$cookie_a|$cookie_my_b|${cookie_my-b}|$http_authorization|"
               "$http_Authorization|"
               "$http_proxy_authorization|${http_proxy-authorization}|$sent_http_set_cookie|${sent_http_Set-Cookie}|"
               "$cookie_none|$http_user_agent"]
    for fmt in formats:
        weir = proxy(origin, f"access_log: {{path: stderr, format: '>>{fmt}'}}" if "$" in fmt
                     else f"access_log: {{path: stderr, format: {fmt}}}")
        got = weir.ask(f"GET /log HTTP/1.1\r\nHost: t\r\nUser-Agent: u\r\n{SECRETIVE}\r\n")
        assert got.get("Set-Cookie") == "c=set-secret", got
        weir.wait_log("/log" if "$" not in fmt else ">>")
        log = weir.errors()
        assert not any(s in log for s in SECRETS), log
        if "$" in fmt:
            line = re.search(">>(.*)", log).group(1)
            assert line == "|".join(["***"] * 11 + ["-", "u"]), line
        sent = origin.requests[-1]
        assert "cookie-secret" in sent.get("Cookie") and "basic-secret" in sent.get("Authorization"), sent


def test_masked_values_are_whole_elsewhere():
    """Only the log hides them."""
    weir = start('sites: [{hosts: [t], routes: [{respond: {body: "$cookie_a $http_authorization"}}]}]')
    assert weir.get("/", "Cookie: a=b", "Authorization: c").body == b"b c"


def test_a_misspelt_format_is_told_where_it_stands():
    path = os.path.join(temp_dir(), "weir.yaml")
    for fmt in ["jsn", "combind", '""']:
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'access_log:\n  path: stderr\n  format: {fmt}\nlisten: [{{address: "127.0.0.1:80"}}]\n{ANSWER}')
        out = run_command([BIN, "-t", "-c", path]).stdout
        assert re.search(rf"{re.escape(path)}:3:1[12]: .*json, or a string with variables", out), out


def test_a_line_is_not_late():
    weir = json_log(ANSWER)
    weir.get("/0")
    weir.access(1)
    late = []
    for i in range(1, 4):
        weir.get(f"/{i}")
        began = time.monotonic()
        weir.access(i + 1)
        late.append(time.monotonic() - began)
    assert min(late) < 1.5, late


def dropped(weir):
    return weir.stats().get("weir_log_lines_dropped_total", 0)


def test_a_full_device():
    """Nothing can be written: requests go on, lines are counted, and it is said once."""
    weir = start(ANSWER + "access_log: {path: /dev/full, format: json}")
    weir.allow("No space left")
    c = weir.connect()
    for i in range(1000):
        assert c.ask(GET).status == 200
    weir.wait_stats(lambda s: s["weir_log_lines_dropped_total"] > 0, "dropped lines")
    said = re.findall("cannot be written.*No space left", weir.errors())
    assert len(said) == 1, weir.errors()


def small_disk(size):
    folder = temp_dir()
    if os.getuid() != 0 or subprocess.call(["mount", "-t", "tmpfs", "-o", f"size={size}", "weir", folder],
                                           stderr=subprocess.DEVNULL) != 0:
        raise Skip("only root may mount a small file system")
    cleanups.append(lambda: subprocess.call(["umount", "-l", folder]))
    return folder


def ask_many(weir, times):
    """On eight connections at once; how many requests that were."""
    request = GET.replace("\r\n\r\n", f"\r\nUser-Agent: {'u' * 700}\r\n\r\n")
    peers = [weir.connect().send(request * times) for _ in range(8)]
    for peer in peers:
        for _ in range(times):
            assert peer.response().status == 200
        peer.close()
    return times * 8


def one_with_each(weir):
    """Connections that stay, as many as it takes until each worker has one: the kernel may wake the same one each time
    for those that come one by one."""
    peers = []

    def held(stats):
        return [stats.get(f'weir_worker_connections{{worker="{n}"}}', 0) for n in range(weir.workers)]
    while not all(held(weir.stats())):
        assert len(peers) < 2000, "a worker that takes no connection"
        peers += [weir.connect() for _ in range(20)]
        weir.wait_stats(lambda s: sum(held(s)) == len(peers))
    return peers


def test_a_full_disk_and_room_again():
    """Four workers, one file: lines are whole, and each request is in the log or among the dropped."""
    disk = small_disk("4m")
    ballast, log = os.path.join(disk, "ballast"), os.path.join(disk, "access.json")
    with open(ballast, "wb") as f:
        f.write(b"x" * 3000 * 1024)
    weir = start(ANSWER + f"access_log: {{path: {log}, format: json}}", workers=4)
    kept = one_with_each(weir)
    count = 0
    while not dropped(weir):
        count += ask_many(weir, 50)
        assert count < 20000, "never full"
    os.unlink(ballast)
    end = time.monotonic() + DEADLINE
    # said by a worker that lost some, with the next line that it has
    while not re.search(r"is written again, [1-9]\d* lines of this worker were lost", weir.errors()):
        for peer in kept:
            assert peer.ask(GET).status == 200
        count += len(kept)
        time.sleep(0.1)
        assert time.monotonic() < end, "never again"
    count += ask_many(weir, 5)

    def written():
        with open(log, "rb") as f:
            got = f.read().split(b"\n")[:-1]
        return got if len(got) + dropped(weir) == count else None
    for line in wait(written, "every request in the log or among the dropped"):
        assert list(json.loads(line)) == MEMBERS, line


if __name__ == "__main__":
    run()
