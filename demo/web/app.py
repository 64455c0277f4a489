"""The demo's web application: one page, a health check of its own, and two ways to misbehave."""

import configparser
import http.server
import os
import signal
import sys
import threading
import urllib.request

import redis

SETTINGS = configparser.ConfigParser()
SETTINGS.read("/run/web/web.ini")
WEB = SETTINGS["web"]


class Page(http.server.BaseHTTPRequestHandler):
    """`/` counts a visit, `/health` says whether Redis answers, `/crash` ends the process as a bug would."""

    def do_GET(self):
        if self.path == "/crash":
            os._exit(3)
        if self.path == "/health":
            self.answer(503 if WEB["version"] == "3" else 200, "broken release\n" if WEB["version"] == "3" else "ok\n")
            return
        visits = STORE.incr("visits")
        with open("/var/lib/web/visits", "a", encoding="ascii") as file:
            file.write(f"{visits}\n")
        self.answer(200, f"{WEB['greeting']}, version {WEB['version']}, visit {visits}\n")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def check():
    with urllib.request.urlopen(f"http://127.0.0.1:{WEB['port']}/health", timeout=1.5) as answer:
        print(answer.read().decode().strip())


if "--check" in sys.argv:
    check()
else:
    STORE = redis.Redis.from_url(WEB["redis"])
    server = http.server.ThreadingHTTPServer(("", int(WEB["port"])), Page)
    server.daemon_threads = False  # an answer that has begun is finished before the process goes
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"version {WEB['version']} listens on {WEB['port']}")
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    print("drained, bye")
