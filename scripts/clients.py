"""Runs the clients of examples/clients against real servers and compares what they
print: with examples/clients/expected.txt, and so with each other.

Usage: clients.py RECSYS REDIS_SERVER CLIENTS FOLDER LANGUAGE...
CLIENTS is a built copy of examples/clients, FOLDER has room for files.
"""

import difflib
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

import refuser
import rig

program, redis_server, clients, folder = (pathlib.Path(name) for name in sys.argv[1:5])
languages = sys.argv[5:]

COMMANDS = {
    "python": [".venv/bin/python", "client.py"],
    "go": ["./client"],
    "node": ["node", "client.js"],
    "java": ["java", "-cp", "target/classes:target/lib/*", "recsys.client.Client"],
}
# Longest that a call may take; Go wants a unit.
TIMEOUT = {"go": "60s"}
EXPECTED = (clients / "expected.txt").read_text()
LISTS_IN_EXPECTED = 5

tries = 0


def play(language, addresses, lists=LISTS_IN_EXPECTED, settings=(), key=None):
    """Has a client play the day of a new user; it must print what is expected."""
    global tries
    tries += 1
    environment = {**os.environ, "PYTHONPATH": "stubs"}
    for name in [name for name in environment if name.startswith("RECSYS_")]:
        del environment[name]
    if key:
        environment["RECSYS_KEY"] = key
    told = subprocess.run(
        [*COMMANDS[language], "--addresses", ",".join(addresses), "--user", f"ada-{tries}",
         "--timeout", TIMEOUT.get(language, "60"), "--lists", str(lists), *settings],
        cwd=clients / language, env=environment, capture_output=True, text=True,
    )
    expected = EXPECTED.replace(
        f"{LISTS_IN_EXPECTED} more with the same seed", f"{lists} more with the same seed"
    )
    if told.returncode or told.stdout != expected:
        lines = (text.splitlines(keepends=True) for text in (expected, told.stdout))
        sys.stdout.writelines(difflib.unified_diff(*lines, "expected", f"{language} prints"))
        sys.exit(f"{language} exits with {told.returncode}:\n{told.stderr}")


def uses_all(language, servers, **how):
    """Plays until the client has had lists of every server: its second connection may
    come late, but not for ever."""
    lists = LISTS_IN_EXPECTED
    for _ in range(6):
        before = [server.calls("Recommend") for server in servers]
        play(language, [server.address for server in servers], lists, **how)
        calls = [server.calls("Recommend") - n for server, n in zip(servers, before)]
        if all(calls):
            return " and ".join(map(str, calls))
        lists *= 4
    sys.exit(f"{language} has not spread its calls: {calls}")


def case(what, told):
    print(f"ok   {what}: {told}")


def in_clear(redis):
    """Two servers on one Redis, each with its part of the calls."""
    with (rig.serving(program, folder, REDIS_URL=redis.url) as one,
          rig.serving(program, folder, REDIS_URL=redis.url) as other):
        for language in languages:
            told = uses_all(language, (one, other))
            case(f"{language}, two servers", f"lists of the first and the second: {told}")


def over_tls(redis):
    """The same over TLS, where each call needs a key."""
    rig.authority(folder, "ours")
    rig.certificate(folder, "server", "ours", "localhost")
    key, entry = rig.new_key(program, "ingest", "serve", "read-profile")
    (folder / "tenants.toml").write_text(f'[tenants.shop]\ncollection = "shop"\n{entry}')
    settings = {
        "REDIS_URL": redis.url,
        "RECSYS_TLS_CERT_FILE": folder / "server.pem",
        "RECSYS_TLS_KEY_FILE": folder / "server.key",
        "RECSYS_TENANTS_PATH": folder / "tenants.toml",
    }
    trust = ["--ca-file", str(folder / "ours-ca.pem")]
    with (rig.serving(program, folder, **settings) as one,
          rig.serving(program, folder, **settings) as other):
        for language in languages:
            several = [*trust, "--server-name", "localhost"]
            told = uses_all(language, (one, other), settings=several, key=key)
            case(f"{language}, two servers, TLS and a key", f"lists of each: {told}")
            play(language, [f"localhost:{one.port}"], settings=trust, key=key)
            case(f"{language}, a server by its name, TLS and a key", "as expected")


def with_refusals(redis):
    """Through a server that refuses each call twice."""
    with rig.serving(program, folder, REDIS_URL=redis.url) as server:
        for language in languages:
            with refuser.refusing(server.address) as (address, attempts):
                play(language, [address])
                told = [attempts[before] for before in range(3)]
                if len(set(told)) != 1 or len(attempts) != 3:
                    sys.exit(f"{language}: attempts, by how many went before: {attempts}")
                case(f"{language}, each call refused twice", f"{told[0]} calls answered")


def ready(server):
    try:
        with urllib.request.urlopen(f"http://{server.admin_address}/readyz") as reply:
            return str(reply.status)
    except urllib.error.HTTPError as error:
        return str(error.code)


def beside_one_that_drains(redis):
    """What is about to stop gets no calls any more from clients that watch its health."""
    settings = {"REDIS_URL": redis.url, "RECSYS_DRAIN_DELAY": "10m"}
    with (rig.serving(program, folder, **settings) as stays,
          rig.serving(program, folder, **settings) as leaves):
        leaves.drain()
        rig.eventually("the drain begins", lambda: "503" == ready(leaves))
        for language in languages:
            if language == "node":
                # grpc-js has no health checks: a call may go there, and is answered.
                play(language, [leaves.address, stays.address])
                case(f"{language}, one of two servers drains", "all calls are answered")
                continue
            before = leaves.calls("Recommend")
            play(language, [leaves.address, stays.address])
            calls = leaves.calls("Recommend") - before
            if calls:
                sys.exit(f"{language} has sent {calls} calls to a server that drains")
            case(f"{language}, one of two servers drains", "no call went there")


with rig.redis(redis_server, folder) as redis:
    in_clear(redis)
    beside_one_that_drains(redis)
    over_tls(redis)
    with_refusals(redis)
