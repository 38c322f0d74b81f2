# SPDX-License-Identifier: MIT
"""A web server on the loopback for tests: one that is slow, wrong, hangs, breaks off."""
import http.server
import socket
import ssl
import subprocess
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        with server.lock:
            server.hits[self.path] = server.hits.get(self.path, 0) + 1
            hit = server.hits[self.path]
            server.active += 1
            server.most = max(server.most, server.active)
        try:
            self.answer(hit)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, hit):
        _, verb, *rest = self.path.split("?")[0].split("/")
        if verb == "bytes":
            self.reply(200, bytes(range(256)) * (int(rest[0]) // 256) + b"x" * (int(rest[0]) % 256))
        elif verb == "status":
            self.reply(int(rest[0]), b"as you like")
        elif verb == "slow":
            time.sleep(float(rest[0]))
            self.reply(200, b"slow")
        elif verb == "together":
            if self.server.most >= int(rest[0]):
                self.server.gathered.set()
            self.server.gathered.wait(30)
            self.reply(200, b"together")
        elif verb == "hang":
            self.server.stopped.wait(30)
            self.close_connection = True
        elif verb == "hanging-body":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            self.server.stopped.wait(30)
            self.close_connection = True
        elif verb == "broken":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif verb == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(int(rest[0])):
                self.wfile.write(b"8\r\n%08d\r\n" % number)
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        elif verb == "redirect":
            left = int(rest[0])
            where = f"/redirect/{left - 1}" if left > 1 else "/bytes/5"
            self.reply(302, b"", [("Location", where)])
        elif verb == "to-file":
            self.reply(302, b"", [("Location", "file:///etc/passwd")])
        elif verb == "flaky":
            self.reply(503 if hit < 3 else 200, b"at last")
        elif verb == "noise":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
        else:
            self.reply(404, b"no such page")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, tls=None):
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.gathered = threading.Event()
        self.hits, self.active, self.most = {}, 0, 0
        super().__init__(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def handle_error(self, *_):
        pass

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


def certificate():
    """A self-signed certificate for 127.0.0.1 in the current directory: (certificate, key)."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", "key.pem", "-out", "cert.pem"], check=True, capture_output=True)
    return "cert.pem", "key.pem"


def closed_port():
    """A port of the loopback where nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
