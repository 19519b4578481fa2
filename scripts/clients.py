"""Runs the clients of examples/clients against real servers and compares what they
print with examples/clients/expected.txt. Run by scripts/clients.sh.

Usage: clients.py RECSYS REDIS_SERVER CLIENTS FOLDER LANGUAGE...
CLIENTS is a built copy of examples/clients; files are made in FOLDER.
"""

import collections
import concurrent.futures
import contextlib
import difflib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import grpc

program, redis_server, clients, folder = (pathlib.Path(name) for name in sys.argv[1:5])
languages = sys.argv[5:]

COMMANDS = {
    "python": [".venv/bin/python", "client.py"],
    "go": ["./client"],
    "node": ["node", "client.js"],
    "java": ["java", "-cp", "target/classes:target/lib/*", "recsys.client.Client"],
}
# Longest that a call may take; Go needs a unit.
CALL_TIMEOUT = {"go": "60s"}
# Longest that a start or a change of state may take.
TIMEOUT_S = 60
# What the clients print must not depend on when rows of neighbors are ready and models
# are saved.
RANKING = folder / "ranking.toml"
RANKING.write_text('preset = "reference"\n')
EXPECTED = (clients / "expected.txt").read_text()
LISTS_IN_EXPECTED = 5
EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

runs = 0


def eventually(what, condition):
    """Waits for a true value, and returns it."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {TIMEOUT_S} s")
        time.sleep(0.05)
    return value


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificate():
    """Makes ca.pem, and server.pem with server.key for the name localhost."""
    openssl("req", "-x509", *EC_KEY, "-days", "2", "-subj", "/CN=CA",
            "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-new", *EC_KEY, "-subj", "/CN=localhost",
            "-keyout", "server.key", "-out", "server.csr")
    (folder / "server.ext").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-days", "2", "-extfile", "server.ext",
            "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem")


def new_key(*roles):
    """Makes a key as operators do. Returns it, and its entry for the tenants file."""
    arguments = [program, "keys", "new", "shop"]
    for role in roles:
        arguments += ["--role", role]
    made = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return made.stdout.strip(), made.stderr.split("Add to the tenants file:")[1]


class Server:
    """A running recsys."""

    def __init__(self, process, log):
        self.process, self.log = process, log
        self.address = f"127.0.0.1:{self.port('serving gRPC')}"
        self.admin = f"http://127.0.0.1:{self.port('serving metrics and health')}"

    def port(self, logged):
        def found():
            text = self.log.read_text()
            match = re.search(logged + r".* address=\S*:(\d+)", text)
            if not match and self.process.poll() is not None:
                raise AssertionError(f"recsys did not start:\n{text}")
            return match and match[1]

        return eventually(f"recsys logs '{logged}'", found)

    def calls(self, method):
        """How many calls of a method it has answered with OK."""
        with urllib.request.urlopen(f"{self.admin}/metrics") as reply:
            text = reply.read().decode()
        lines = re.findall(r"^rpc_server_call_duration_seconds_count\{(.*)\} (\d+)", text, re.M)
        return sum(int(n) for labels, n in lines if f'/{method}"' in labels and '"OK"' in labels)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.admin}/readyz") as reply:
                return reply.status == 200
        except urllib.error.HTTPError:
            return False


@contextlib.contextmanager
def serving(**settings):
    """Runs recsys until the block ends."""
    log = folder / f"recsys-{len(list(folder.glob('recsys-*.log')))}.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [program, "serve", "--listen-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"],
            env={
                "RECSYS_LOG_FORMAT": "text",
                "MODEL_SAVE_INTERVAL": "0",
                "RECSYS_RANKING_PATH": str(RANKING),
            } | {name: str(v) for name, v in settings.items()},
            stdout=subprocess.DEVNULL, stderr=stderr,
        )
    try:
        yield Server(process, log)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def redis():
    """Runs a redis-server until the block ends; returns its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [redis_server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually("redis-server listens", listens)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class RefusingProxy(grpc.GenericRpcHandler):
    """Forwards the third attempt of each call; refuses the first with
    RESOURCE_EXHAUSTED and `grpc-retry-pushback-ms`, the second with UNAVAILABLE."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.attempts = collections.Counter()

    def service(self, call):
        # Without a health service the client takes the server for healthy.
        if not call.method.startswith("/recsys.v1."):
            return None
        before = int(dict(call.invocation_metadata).get("grpc-previous-rpc-attempts", 0))
        self.attempts[before] += 1
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.answer(call, before, request, context)
        )

    def answer(self, call, before, request, context):
        if before == 0:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "10"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "refused")
        if before == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "refused")
        try:
            return self.upstream.unary_unary(call.method)(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata())
            context.abort(error.code(), error.details())


@contextlib.contextmanager
def refusing(upstream_address):
    """Runs a RefusingProxy until the block ends; returns its address and itself."""
    with grpc.insecure_channel(upstream_address) as upstream:
        proxy = RefusingProxy(upstream)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=(proxy,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", proxy
        finally:
            server.stop(None).wait()


def run(language, addresses, lists=LISTS_IN_EXPECTED, arguments=(), key=None):
    """Runs a client for a new user; it must print what is expected."""
    global runs
    runs += 1
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RECSYS_")}
    environment["PYTHONPATH"] = "stubs"
    if key:
        environment["RECSYS_KEY"] = key
    done = subprocess.run(
        [*COMMANDS[language], "--addresses", ",".join(addresses), "--user", f"ada-{runs}",
         "--timeout", CALL_TIMEOUT.get(language, "60"), "--lists", str(lists), *arguments],
        cwd=clients / language, env=environment, capture_output=True, text=True,
    )
    expected = EXPECTED.replace(
        f"{LISTS_IN_EXPECTED} more with the same seed", f"{lists} more with the same seed"
    )
    if done.returncode or done.stdout != expected:
        lines = (text.splitlines(keepends=True) for text in (expected, done.stdout))
        sys.stdout.writelines(difflib.unified_diff(*lines, "expected", f"{language} prints"))
        sys.exit(f"{language} exits with {done.returncode}:\n{done.stderr}")


def spreads_calls(language, servers, **how):
    """Runs the client with more and more lists until each server has served some: its
    second connection may come late."""
    lists = LISTS_IN_EXPECTED
    for _ in range(6):
        before = [server.calls("Recommend") for server in servers]
        run(language, [server.address for server in servers], lists, **how)
        calls = [server.calls("Recommend") - n for server, n in zip(servers, before)]
        if all(calls):
            return
        lists *= 4
    sys.exit(f"{language} does not spread its calls: {calls}")


def passed(language, what):
    print(f"ok   {language}: {what}")


def check_load_balancing(redis_url):
    with serving(REDIS_URL=redis_url) as one, serving(REDIS_URL=redis_url) as other:
        for language in languages:
            spreads_calls(language, (one, other))
            passed(language, "spreads calls over two servers")


def check_tls_and_keys(redis_url):
    make_certificate()
    key, entry = new_key("ingest", "serve", "read-profile", "merge")
    (folder / "tenants.toml").write_text(f'[tenants.shop]\ncollection = "shop"\n{entry}')
    settings = {
        "REDIS_URL": redis_url,
        "RECSYS_TLS_CERT_FILE": folder / "server.pem",
        "RECSYS_TLS_KEY_FILE": folder / "server.key",
        "RECSYS_TENANTS_PATH": folder / "tenants.toml",
    }
    trust = ["--ca-file", str(folder / "ca.pem")]
    with serving(**settings) as one, serving(**settings) as other:
        for language in languages:
            spreads_calls(language, (one, other), arguments=[*trust, "--server-name", "localhost"],
                          key=key)
            run(language, [one.address.replace("127.0.0.1", "localhost")], arguments=trust, key=key)
            passed(language, "calls over TLS with a key")


def check_retries(redis_url):
    with serving(REDIS_URL=redis_url) as server:
        for language in languages:
            with refusing(server.address) as (address, proxy):
                run(language, [address])
                if len(proxy.attempts) != 3 or len(set(proxy.attempts.values())) != 1:
                    sys.exit(f"{language}: attempts by number: {proxy.attempts}")
            passed(language, "retries calls that are refused twice")


def check_drain(redis_url):
    settings = {"REDIS_URL": redis_url, "RECSYS_DRAIN_DELAY": "10m"}
    with serving(**settings) as stays, serving(**settings) as leaves:
        leaves.process.send_signal(signal.SIGTERM)
        eventually("the drain begins", lambda: not leaves.is_ready())
        for language in languages:
            before = leaves.calls("Recommend")
            run(language, [leaves.address, stays.address])
            # grpc-js checks no health: a call may go to the draining server, which answers.
            if language != "node" and leaves.calls("Recommend") != before:
                sys.exit(f"{language} calls a server that drains")
            passed(language, "is served while one of two servers drains")


with redis() as url:
    check_load_balancing(url)
    check_drain(url)
    check_tls_and_keys(url)
    check_retries(url)
