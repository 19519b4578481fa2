"""Runs the examples of the clients against real servers and compares what they print
with clients/expected.txt. Run by scripts/clients.sh.

Usage: clients.py RECSYS REDIS_SERVER CLIENTS FOLDER LANGUAGE...
CLIENTS is a built copy of clients/; FOLDER has the built examples, and files are made in it.
"""

import collections
import concurrent.futures
import contextlib
import difflib
import hashlib
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
from recsys_client import Client, pb

program, redis_server, clients, folder = (pathlib.Path(name) for name in sys.argv[1:5])
languages = sys.argv[5:]

COMMANDS = {
    "python": [clients / "python/.venv/bin/python", clients / "python/examples/shop.py"],
    "go": [folder / "go/shop"],
    "node": ["node", folder / "node/shop.mjs"],
    "java": ["java", "-cp", f"{folder}/java:{folder}/java/*", "Shop"],
}
# Longest that a start or a change of state may take.
TIMEOUT_S = 60
RANKING = clients / "ranking.toml"
EXPECTED = (clients / "expected.txt").read_text()
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


def make_certificates():
    """Makes ca.pem, and server.pem and client.pem with their keys for the name localhost."""
    openssl("req", "-x509", *EC_KEY, "-days", "2", "-subj", "/CN=CA",
            "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "localhost.ext").write_text("subjectAltName=DNS:localhost\n")
    for name in ("server", "client"):
        openssl("req", "-new", *EC_KEY, "-subj", "/CN=localhost",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-days", "2", "-extfile", "localhost.ext",
                "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem")


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

    def attributed_likes(self):
        """How many likes it has attributed to each variant."""
        with urllib.request.urlopen(f"{self.admin}/metrics") as reply:
            text = reply.read().decode()
        lines = re.findall(
            r'^recsys_placement_events_total\{placement="home",variant="(\w+)",meaning="like"\} (\d+)',
            text, re.M)
        return collections.Counter({variant: int(n) for variant, n in lines})

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


class Proxy(grpc.GenericRpcHandler):
    """Forwards calls, and counts their attempts by number."""

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

    def forward(self, call, request, context):
        try:
            return self.upstream.unary_unary(call.method)(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata())
            context.abort(error.code(), error.details())


class RefusingProxy(Proxy):
    """Forwards the third attempt of each call; refuses the first with
    RESOURCE_EXHAUSTED and `grpc-retry-pushback-ms`, the second with UNAVAILABLE."""

    def answer(self, call, before, request, context):
        if before == 0:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "10"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "refused")
        if before == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "refused")
        return self.forward(call, request, context)


class LosingProxy(Proxy):
    """Forwards every attempt, and loses the reply of the first."""

    def answer(self, call, before, request, context):
        reply = self.forward(call, request, context)
        if before == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the reply is lost")
        return reply


@contextlib.contextmanager
def proxy_to(upstream_address, kind):
    """Runs a proxy until the block ends; returns its address and itself."""
    with grpc.insecure_channel(upstream_address) as upstream:
        proxy = kind(upstream)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=(proxy,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", proxy
        finally:
            server.stop(None).wait()


def variant_of(user):
    """The variant that docs/guides/experiments.md promises to a user."""
    digest = hashlib.sha256(b"home-order 1" + b"\0" + user.encode()).digest()
    position = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    return "current" if position < 0.5 else "diverse"


def example(language, addresses, **settings):
    """Runs the example for a new user. Returns the user and what it did."""
    global runs
    runs += 1
    user = f"ada-{runs}"
    environment = {n: v for n, v in os.environ.items() if not n.startswith("RECSYS_")}
    environment["RECSYS_ADDRESSES"] = ",".join(addresses)
    environment |= {f"RECSYS_{name}": str(value) for name, value in settings.items()}
    return user, subprocess.run(
        [*COMMANDS[language], user], env=environment, capture_output=True, text=True,
    )


def run(language, addresses, **settings):
    """Runs the example; it must print what is expected. Returns the user."""
    user, done = example(language, addresses, **settings)
    expected = re.sub("variant .*", f"variant {variant_of(user)}", EXPECTED)
    if done.returncode or done.stdout != expected:
        lines = (text.splitlines(keepends=True) for text in (expected, done.stdout))
        sys.stdout.writelines(difflib.unified_diff(*lines, "expected", f"{language} prints"))
        sys.exit(f"{language} exits with {done.returncode}:\n{done.stderr}")
    return user


def spreads_calls(language, servers, **settings):
    """Runs the example until each server has served some lists: its second connection may
    come late."""
    before = [server.calls("Recommend") for server in servers]
    for _ in range(20):
        run(language, [server.address for server in servers], **settings)
        calls = [server.calls("Recommend") - n for server, n in zip(servers, before)]
        if all(calls):
            return
    sys.exit(f"{language} does not spread its calls: {calls}")


def passed(language, what):
    print(f"ok   {language}: {what}")


def check_load_balancing(redis_url):
    with serving(REDIS_URL=redis_url) as one, serving(REDIS_URL=redis_url) as other:
        for language in languages:
            spreads_calls(language, (one, other))
            passed(language, "spreads calls over two servers")


def check_tls_and_keys(redis_url):
    make_certificates()
    key, entry = new_key("ingest", "serve", "merge", "catalog")
    (folder / "tenants.toml").write_text(f'[tenants.shop]\ncollection = "shop"\n{entry}')
    settings = {
        "REDIS_URL": redis_url,
        "RECSYS_TLS_CERT_FILE": folder / "server.pem",
        "RECSYS_TLS_KEY_FILE": folder / "server.key",
        "RECSYS_TLS_CLIENT_CA_FILE": folder / "ca.pem",
        "RECSYS_TENANTS_PATH": folder / "tenants.toml",
    }
    trust = {
        "KEY": key,
        "CA_FILE": folder / "ca.pem",
        "CERT_FILE": folder / "client.pem",
        "CERT_KEY_FILE": folder / "client.key",
    }
    with serving(**settings) as one, serving(**settings) as other:
        for language in languages:
            spreads_calls(language, (one, other), **trust, SERVER_NAME="localhost")
            run(language, [one.address.replace("127.0.0.1", "localhost")], **trust)
            passed(language, "calls over mutual TLS with a key")


def check_retries(redis_url):
    with serving(REDIS_URL=redis_url) as server:
        for language in languages:
            with proxy_to(server.address, RefusingProxy) as (address, proxy):
                run(language, [address])
                if len(proxy.attempts) != 3 or len(set(proxy.attempts.values())) != 1:
                    sys.exit(f"{language}: attempts by number: {proxy.attempts}")
            passed(language, "retries calls that are refused twice")


def check_lost_replies(redis_url):
    with serving(REDIS_URL=redis_url) as server, Client(server.address) as direct:

        def events_of(user):
            return direct.GetUserSignals(pb.GetUserSignalsRequest(user_id=user)).signals.event_count

        for language in languages:
            undisturbed = events_of(run(language, [server.address]))
            with proxy_to(server.address, LosingProxy) as (address, proxy):
                user, done = example(language, [address])
            if done.returncode or not proxy.attempts[1]:
                sys.exit(f"{language} exits with {done.returncode}:\n{done.stderr}")
            if not 0 < events_of(user) == undisturbed:
                sys.exit(f"{language}: {events_of(user)} events are stored, not {undisturbed}")
            passed(language, "sends events again whose replies are lost, and they count once")


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


def check_attribution(redis_url):
    keys = folder / "request-id-keys"
    keys.touch(0o600)
    keys.write_text("0123456789abcdef" * 4 + "\n")
    with serving(REDIS_URL=redis_url, RECSYS_REQUEST_ID_KEY_FILE=keys) as server:
        for language in languages:
            before = server.attributed_likes()
            variant = variant_of(run(language, [server.address]))
            if server.attributed_likes() - before != collections.Counter([variant]):
                sys.exit(f"{language}: the purchase is not attributed to its list")
            passed(language, "reports a purchase from a list of an experiment")


with redis() as url:
    check_load_balancing(url)
    check_attribution(url)
    check_drain(url)
    check_tls_and_keys(url)
    check_retries(url)
    check_lost_replies(url)
