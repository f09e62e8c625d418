#!/usr/bin/python3
"""Chromium as the client: a page with many images over HTTP/2, what its scripts fetch, a WebSocket; and a page that
comes compressed."""

import asyncio
import html
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.parse

import websockets

from lib import tls
from lib.coding import chunked, encode, response, split, words
from lib.weir import DEADLINE, OK, Origin, Skip, cleanups, free_port, run, start, temp_dir, wait

IMAGES = 80
PAGE = b"""<!doctype html><html><head><title>t</title><link rel=stylesheet href=/style.css></head><body><script>
const told = {};
const loaded = new Promise(done => {
  let left = %d;
  for (let i = 0, n = left; i < n; i++) {
    const image = new Image();
    image.onload = () => { if (--left === 0) done(n); };
    image.src = `/image/${i}.svg`;
    document.body.append(image);
  }
});
async function upload() {
  const data = new Uint8Array(3 << 20).map((_, i) => i * 7);
  const got = new Uint8Array(await (await fetch('/echo', {method: 'POST', body: data})).arrayBuffer());
  return got.length === data.length && got.every((b, i) => b === data[i]);
}
function socket() {
  return new Promise(done => {
    const s = new WebSocket(`wss://${location.host}/chat`);
    const data = 'x'.repeat(100000);
    s.onopen = () => s.send(data);
    s.onmessage = m => { s.close(1000); s.onclose = e => done(m.data === data && e.code === 1000); };
    s.onerror = () => done('failed');
  });
}
(async () => {
  told.images = await loaded;
  told.style = getComputedStyle(document.body).color;
  told.upload = await upload();
  told.socket = await socket();
  told.protocols = [...new Set(performance.getEntriesByType('resource').map(e => e.nextHopProtocol))].join();
  await fetch('/told?' + new URLSearchParams(told));
})();
</script></body></html>""" % IMAGES
IMAGE = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><!-- %s --><rect width="4" height="4"/></svg>'


def answer(_, request):
    path = request.target.partition("?")[0]
    if path == "/echo":
        kind, body = "application/octet-stream", request.body
    elif path.startswith("/image/"):
        kind, body = "image/svg+xml", IMAGE % (b"x" * 5000)
    elif path == "/style.css":
        kind, body = "text/css", b"body { color: rgb(1, 2, 3) }"
    else:
        kind, body = "text/html", PAGE
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chats():
    """A WebSocket server that echoes, in a thread; its address."""
    loop, ready = asyncio.new_event_loop(), []

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def main(stop):
        async with websockets.serve(echo, "127.0.0.1", 0) as server:
            ready.append((server.sockets[0].getsockname()[1], stop))
            await stop
    thread = threading.Thread(target=lambda: loop.run_until_complete(main(loop.create_future())), daemon=True)
    thread.start()
    port, stop = wait(lambda: ready, "a WebSocket server")[0]
    cleanups.append(lambda: (loop.call_soon_threadsafe(stop.set_result, None), thread.join(30)))
    return f"127.0.0.1:{port}"


def browse(url):
    binary = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if not binary:
        raise Skip("no chromium")
    folder = temp_dir()
    log = os.path.join(folder, "log")
    with open(log, "wb") as f:
        process = subprocess.Popen([
            binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
            "--disable-background-networking", "--disable-component-update", "--ignore-certificate-errors",
            f"--user-data-dir={folder}/data", "--remote-debugging-port=0", url],
            stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True)

    def stop():
        os.killpg(process.pid, signal.SIGKILL)      # a group of its own: its helpers, too
        process.wait()
    cleanups.append(stop)
    return log


def test_a_page():
    origin, certificate, port = Origin(answer), tls.make("localhost", "127.0.0.1"), free_port()
    log = os.path.join(temp_dir(), "log")
    weir = start(f"""
listen: [{tls.listener(port, certificate)}]
upstreams: {{app: {{servers: ["{origin.address}"]}}, chat: {{servers: ["{chats()}"]}}}}
sites: [{{hosts: ["*"], routes: [{{match: {{path: /chat}}, proxy: chat}}, {{proxy: app}}]}}]
access_log: {{path: {log}, format: "$protocol $method $path $status $tls_version"}}
""", workers=2)
    weir.access_log = log
    browser = browse(f"https://127.0.0.1:{port}/")

    def told():
        return [r for r in origin.requests if r.target.startswith("/told?")]
    try:
        # a browser that starts on a busy machine takes its time
        request = wait(told, "the page to tell what it saw", 4 * DEADLINE)[0]
    except AssertionError as e:
        asked = [r.target for r in origin.requests]
        raise AssertionError(f"{e}; it asked for {asked}; its log: {open(browser, errors='replace').read()}") from None
    said = dict(urllib.parse.parse_qsl(request.target.partition("?")[2]))
    assert said == {"images": str(IMAGES), "style": "rgb(1, 2, 3)", "upload": "true", "socket": "true",
                    "protocols": "h2"}, said
    lines = weir.access(IMAGES + 5)
    assert all(re.match(r"HTTP/2\.0 ", l) for l in lines), lines
    assert [l for l in lines if l.endswith("/chat 200 TLSv1.3")], lines
    assert request.get("X-Forwarded-Proto") == "https"


TEXT = words(50_000)
CODED = b"""<!doctype html><html><head><title>t</title></head><body><pre id=text>%s</pre><script>
const told = {};
const seen = text => [...text].reduce((n, c) => (n * 31 + c.charCodeAt(0)) >>> 0, text.length);
const load = async path => (await fetch(path)).text();
function events() {
  return new Promise(done => {
    const source = new EventSource('/events');
    let n = 0;
    source.onmessage = async e => {
      if (e.data !== `${n} ` + 'x'.repeat(n * 50)) done('wrong');
      await fetch('/next/' + n);
      if (++n === 5) { source.close(); done(n); }
    };
  });
}
(async () => {
  told.text = seen(document.getElementById('text').textContent);
  for (const path of ['/live', '/stored', '/stored', '/stored', '/chunked', '/gzipped', '/stored-gzipped'])
    told[path] = seen(await load(path));
  told.events = await events();
  const entries = performance.getEntriesByType('resource').filter(e => !/events|next/.test(e.name));
  told.small = [performance.getEntriesByType('navigation')[0], ...entries].every(
    e => e.encodedBodySize > 0 && e.encodedBodySize < e.decodedBodySize);
  await fetch('/told?' + new URLSearchParams(told));
})();
</script></body></html>"""


def seen(text):
    """As the page adds it up."""
    n = len(text)
    for c in text:
        n = (n * 31 + c) & 0xffffffff
    return n


def test_what_is_coded():
    """A page and what it loads, stored and not, in zstd or br as it comes from weir; events come one by one."""
    origin, certificate, port = Origin(), tls.make("localhost", "127.0.0.1"), free_port()
    page = CODED.replace(b"%s", html.escape(TEXT.decode()).encode())
    store = "Cache-Control: s-maxage=1000, max-age=0"       # by weir, not by Chromium
    pages = {
        "/": response(page, store, kind="text/html"), "/live": response(TEXT), "/stored": response(TEXT, store),
        "/chunked": response(b"".join(chunked(split(TEXT, 999))), "Transfer-Encoding: chunked", length=False),
        "/gzipped": response(encode("gzip", TEXT), "Content-Encoding: gzip"),
        "/stored-gzipped": response(encode("gzip", TEXT), "Content-Encoding: gzip", store),
    }

    def events(peer):
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(5):
            peer.send(*list(chunked([b"data: %d %s\n\n" % (i, i * 50 * b"x")]))[:1])
            wait(lambda i=i: [r for r in origin.requests if r.target == f"/next/{i}"], f"event {i} to be seen")
        peer.send("0\r\n\r\n")

    def answer_coded(peer, request):
        if request.target == "/events":
            return events(peer)
        return pages.get(request.target, OK)
    origin.answer = answer_coded
    log = os.path.join(temp_dir(), "log")
    weir = start(f"""
listen: [{tls.listener(port, certificate)}]
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
cache_memory: {{size: 64m}}
compress: {{}}
sites: [{{hosts: ["*"], cache: {{}}, routes: [{{proxy: app}}]}}]
access_log: {{path: {log}, format: "$path $status $sent_http_content_encoding $cache"}}
""")
    weir.access_log = log
    browse(f"https://127.0.0.1:{port}/")

    def told():
        return [r for r in origin.requests if r.target.startswith("/told?")]
    request = wait(told, "the page to tell what it saw")[0]
    said = dict(urllib.parse.parse_qsl(request.target.partition("?")[2]))
    paths = ["/live", "/stored", "/chunked", "/gzipped", "/stored-gzipped"]
    assert said == {"text": str(seen(TEXT)), "events": "5", "small": "true",
                    **{p: str(seen(TEXT)) for p in paths}}, said
    wait(lambda: "/told 200" in "\n".join(weir.access(1)), "the log of it")
    lines = [l.split(" ", 3) for l in weir.access(1)]
    for path in ["/", "/live", "/stored", "/chunked", "/events"]:
        codings = {l[2] for l in lines if l[0] == path}
        assert len(codings) == 1 and codings <= {"zstd", "br"}, (path, lines)
    assert {l[2] for l in lines if l[0] == "/gzipped"} == {"gzip"}, lines
    assert [l for l in lines if l[0] == "/stored" and "hit" in l[3]], lines


if __name__ == "__main__":
    run()
