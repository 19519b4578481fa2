"""Tries recsys on real Qdrant servers; scripts/qdrant.sh runs it.

Each check fills a collection with `recsys catalog import`, and compares lists with those
of a recsys that has the same items in memory. Needs only the standard library.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

ITEMS = 3_000
SIZE = 32
TAGS = 120
USERS = 20
EVENTS = 12
CALLERS = 4
START_TIMEOUT = 60
QUANTISED_RECALL = 0.9

RECSYS = os.environ["RECSYS"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, test, timeout=START_TIMEOUT):
    """Waits until a test returns something true; returns it and the seconds."""
    started = time.monotonic()
    while True:
        try:
            found = test()
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            found = None
        if found:
            return found, time.monotonic() - started
        if time.monotonic() - started > timeout:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.05)


def call(url, body=None, method=None, timeout=60):
    """A JSON request; returns the parsed reply."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return json.load(reply)


class Process:
    """A program that is killed at the end; its output goes to a file."""

    everything = []

    def __init__(self, command, env, log):
        self.command, self.env, self.log = command, env, log
        self.start()
        Process.everything.append(self)

    def start(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.command, env=self.env, cwd=self.log.parent, stdout=log, stderr=log
            )

    def kill(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait()


class Node:
    """A Qdrant server."""

    def __init__(self, binary, directory, first=None, clustered=False):
        directory.mkdir()
        self.http, self.grpc, p2p = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        self.grpc_url = f"http://127.0.0.1:{self.grpc}"
        self.p2p_url = f"http://127.0.0.1:{p2p}"
        env = {
            "PATH": os.environ["PATH"],
            "QDRANT__LOG_LEVEL": "WARN",
            "QDRANT__TELEMETRY_DISABLED": "true",
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(self.http),
            "QDRANT__SERVICE__GRPC_PORT": str(self.grpc),
            "QDRANT__SERVICE__ENABLE_STATIC_CONTENT": "false",
            "QDRANT__STORAGE__STORAGE_PATH": str(directory / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(directory / "snapshots"),
            "QDRANT__CLUSTER__ENABLED": "true" if clustered else "false",
            "QDRANT__CLUSTER__P2P__PORT": str(p2p),
        }
        command = [binary]
        if clustered:
            command += ["--uri", self.p2p_url]
            if first:
                command += ["--bootstrap", first.p2p_url]
        self.process = Process(command, env, directory / "qdrant.log")
        self.wait()

    def wait(self):
        # A node of a cluster is ready when it has caught up with the others.
        ready = lambda: urllib.request.urlopen(f"{self.url}/readyz", timeout=5).status == 200
        return until("Qdrant is ready", ready)[1]

    def call(self, path, body=None, method=None):
        reply = call(f"{self.url}{path}", body, method)
        return reply["result"]

    def create(self, name, **config):
        self.call(f"/collections/{name}", config, "PUT")

    def delete(self, name):
        self.call(f"/collections/{name}", method="DELETE")

    def version(self):
        return call(self.url)["version"]

    def wait_green(self, name, timeout=120):
        green = lambda: self.call(f"/collections/{name}")["status"] == "green"
        return until(f"{name} is green", green, timeout)[1]

    def wait_replicas(self, name, timeout=120):
        """Waits until every replica of a collection is active."""

        def active():
            cluster = self.call(f"/collections/{name}/cluster")
            shards = cluster["local_shards"] + cluster["remote_shards"]
            return shards and all(shard["state"] == "Active" for shard in shards)

        return until(f"all replicas of {name} are active", active, timeout)[1]


class Recsys:
    """A server, its associations off: lists depend on items and the user alone."""

    def __init__(self, directory, name, **settings):
        self.port = free_port()
        env = {
            "PATH": os.environ["PATH"],
            "RECSYS_LISTEN_ADDR": f"127.0.0.1:{self.port}",
            "RECSYS_RANKING_PATH": str(directory / "ranking.toml"),
            "RECSYS_LOG_FORMAT": "text",
            "CATALOG_MIRROR": "off",
            **settings,
        }
        log = directory / f"recsys-{name}.log"
        self.log = log
        self.process = Process([RECSYS, "serve"], env, log)
        until("recsys is ready", self.is_ready)

    def is_ready(self):
        return self.call("Recommend", {"user_id": "nobody"}) is not None

    def call(self, method, body, service="RecommenderService"):
        url = f"http://127.0.0.1:{self.port}/recsys.v1.{service}/{method}"
        return call(url, body)

    def upsert(self, items):
        return self.call("UpsertItems", {"items": items}, "CatalogService")

    def fill(self, users):
        for user, liked in users.items():
            for number, item in enumerate(liked):
                event = {
                    "user_id": user,
                    "event_type": "like",
                    "event_id": f"{user}-{number}",
                    "content_id": item,
                }
                self.call("IngestEvent", {"event": event})

    def lists(self, users):
        lists = {}
        for user in users:
            reply = self.call("Recommend", {"user_id": user, "seed": "1", "limit": 10})
            degraded = reply.get("diagnostics", {}).get("degraded", [])
            lists[user] = ([item["contentId"] for item in reply["items"]], degraded)
        return lists

    def stop(self):
        self.process.kill()


class Load:
    """Callers that ask for lists until the end of the block, and what they got."""

    def __init__(self, server, users):
        self.server, self.users = server, list(users)
        self.outcomes = []
        self.stopped = threading.Event()

    def __enter__(self):
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(CALLERS)]
        for thread in self.threads:
            thread.start()
        return self

    def run(self, number):
        chosen = random.Random(number)
        connection = None
        path = "/recsys.v1.RecommenderService/Recommend"
        while not self.stopped.is_set():
            body = json.dumps({"user_id": chosen.choice(self.users)})
            started = time.monotonic()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                reply = json.loads(response.read())
                if response.status == 200:
                    degraded = reply.get("diagnostics", {}).get("degraded", [])
                    outcome = "degraded " + ",".join(degraded) if degraded else "ok"
                    if not reply.get("items"):
                        outcome = "empty"
                else:
                    outcome = reply.get("code", str(response.status))
            except (OSError, http.client.HTTPException, ValueError) as error:
                outcome, connection = type(error).__name__, None
            ended = time.monotonic()
            self.outcomes.append((ended, outcome, ended - started))

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def summary(self):
        counts = Counter(outcome for _, outcome, _ in self.outcomes)
        slowest = max((seconds for *_, seconds in self.outcomes), default=0)
        parts = [f"{count} {outcome}" for outcome, count in counts.most_common()]
        return f"{', '.join(parts)}; slowest {slowest:.2f} s"

    def recovered_after(self, since):
        """Seconds from a moment until the last call that was not ok."""
        bad = [at for at, outcome, _ in self.outcomes if outcome != "ok" and at >= since]
        return max(bad) - since if bad else 0.0

    def unexpected(self, allowed):
        return {
            outcome
            for _, outcome, _ in self.outcomes
            if outcome != "ok" and not outcome.startswith(tuple(allowed))
        }


def catalogue(path, seed=0):
    """A file of items in clusters, which share vectors and tags."""
    chosen = random.Random(seed)
    centers = [[chosen.gauss(0, 1) for _ in range(SIZE)] for _ in range(40)]
    with open(path, "w") as file:
        for number in range(ITEMS):
            center = number % len(centers)
            tags = {chosen.randrange(TAGS) for _ in range(4)} | {center}
            item = {
                "id": str(number),
                "title": f"Item {number} of {seed}",
                "content_type": "article",
                "tags": [
                    {"facet": "theme", "label": f"topic {tag}", "weight": round(chosen.uniform(0.1, 1), 3)}
                    for tag in sorted(tags)
                ],
                "vector": [round(x + chosen.gauss(0, 0.6), 5) for x in centers[center]],
            }
            file.write(json.dumps(item) + "\n")


def histories():
    chosen = random.Random(7)
    users = {}
    for number in range(USERS):
        cluster = chosen.randrange(40)
        liked = [cluster + 40 * chosen.randrange(ITEMS // 40) for _ in range(EVENTS)]
        users[f"u{number}"] = [str(item) for item in dict.fromkeys(liked)]
    return users


class Trial:
    """What the checks share, and their results."""

    def __init__(self, binary, directory, only):
        self.binary, self.directory, self.only = binary, directory, only
        self.failed = []
        self.node = None
        (directory / "ranking.toml").write_text('preset = "reference"\n')
        self.file = directory / "items.jsonl"
        catalogue(self.file)
        self.users = histories()
        memory = Recsys(directory, "memory", CATALOG_PATH=str(self.file))
        memory.fill(self.users)
        self.expected = memory.lists(self.users)
        memory.stop()

    def check(self, name, work):
        if self.only not in name:
            return
        started = time.monotonic()
        try:
            found = work()
            print(f"ok      {name}: {found}  ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception as error:
            self.failed.append(name)
            print(f"FAILED  {name}: {error!r}", flush=True)
            if not isinstance(error, (AssertionError, TimeoutError)):
                traceback.print_exc()

    def import_items(self, node, collection, file=None):
        env = {
            "PATH": os.environ["PATH"],
            "QDRANT_API_URL": node.grpc_url,
            "COLLECTION_NAME": collection,
            "QDRANT_TIMEOUT": "30s",
        }
        command = [RECSYS, "catalog", "import", str(file or self.file)]
        run = subprocess.run(command, env=env, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
        return run

    def doctor(self, node, collection):
        env = {
            "PATH": os.environ["PATH"],
            "QDRANT_API_URL": node.grpc_url,
            "COLLECTION_NAME": collection,
        }
        run = subprocess.run([RECSYS, "doctor"], env=env, capture_output=True, text=True)
        return run.stdout + run.stderr

    def serve(self, node, collection, name, **settings):
        name = f"{name}-{collection}"
        url = {"QDRANT_API_URL": node.grpc_url, "COLLECTION_NAME": collection}
        server = Recsys(self.directory, name, **url, QDRANT_TIMEOUT="5s", **settings)
        server.fill(self.users)
        return server

    def share_equal(self, server):
        """How much of the lists of memory these lists have; 1 if they are equal."""
        lists = server.lists(self.users)
        degraded = [flags for _, flags in lists.values() if flags]
        assert not degraded, degraded
        shares = [
            len(set(lists[user][0]) & set(expected)) / len(expected)
            for user, (expected, _) in self.expected.items()
        ]
        equal = sum(lists[user][0] == expected for user, (expected, _) in self.expected.items())
        return equal, sum(shares) / len(shares)

    def compare(self, node, collection, least=1.0):
        server = self.serve(node, collection, "compare")
        try:
            equal, share = self.share_equal(server)
        finally:
            server.stop()
        assert share >= least, f"{equal} of {USERS} lists equal, {share:.3f} of their items"
        return f"{equal} of {USERS} lists as from memory, {share:.3f} of their items"


DENSE = {"size": SIZE, "distance": "Cosine"}


def one_node(trial):
    node = trial.node

    def new_collection():
        trial.import_items(node, "new")
        report = trial.doctor(node, "new")
        assert "tags are searched by it" in report, report
        again = trial.import_items(node, "new").stdout
        assert f"0 items written, {ITEMS} unchanged" in again, again
        return trial.compare(node, "new")

    def older_collection():
        node.create("older", vectors=DENSE)
        points = [json.loads(line) for line in trial.file.read_text().splitlines()]
        for start in range(0, ITEMS, 500):
            batch = [
                {
                    "id": int(item["id"]),
                    "vector": item["vector"],
                    "payload": {
                        "title": item["title"],
                        "content_type": item["content_type"],
                        "tags": item["tags"],
                        "tag_labels": [f"theme:{tag['label']}" for tag in item["tags"]],
                    },
                }
                for item in points[start : start + 500]
            ]
            node.call("/collections/older/points?wait=true", {"points": batch}, "PUT")
        server = trial.serve(node, "older", "before")
        equal, share = trial.share_equal(server)
        log = trial.import_items(node, "older").stderr
        assert f"vector of tags was added to {ITEMS} items" in log, log
        logged = lambda: "tags are searched by their sparse vector" in server.log.read_text()
        noticed = until("the vector is noticed", logged)[1]
        server.stop()
        after = trial.compare(node, "older")
        return f"before: {equal} lists, {share:.3f}; noticed after {noticed:.1f} s; after: {after}"

    def alias():
        trial.import_items(node, "shop-1")
        other = trial.directory / "other.jsonl"
        catalogue(other, seed=1)
        trial.import_items(node, "shop-2", other)
        create = {"alias_name": "shop", "collection_name": "shop-1"}
        node.call("/collections/aliases", {"actions": [{"create_alias": create}]})
        compared = trial.compare(node, "shop")
        again = trial.import_items(node, "shop").stdout
        assert f"{ITEMS} unchanged" in again, again
        server = trial.serve(node, "shop", "switched", ITEM_CACHE_TTL="2s")
        with Load(server, trial.users) as load:
            time.sleep(1)
            create = {"alias_name": "shop", "collection_name": "shop-2"}
            switch = [{"delete_alias": {"alias_name": "shop"}}, {"create_alias": create}]
            node.call("/collections/aliases", {"actions": switch})
            read = lambda: server.call("GetItems", {"content_ids": ["5"]}, "CatalogService")
            switched = lambda: read()["items"][0]["title"] == "Item 5 of 1"
            seen = until("items of the other collection", switched, 30)[1]
            time.sleep(1)
        server.stop()
        unexpected = load.unexpected([])
        assert not unexpected, load.summary()
        return f"{compared}; switched under load: new items after {seen:.1f} s; {load.summary()}"

    def named_vectors():
        zoom = {"size": 8, "distance": "Dot"}
        node.create("named", vectors={"dense": DENSE, "zoom": zoom})
        trial.import_items(node, "named")
        return trial.compare(node, "named")

    def quantised():
        node.create(
            "quantised",
            vectors=DENSE,
            quantization_config={"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
            optimizers_config={"indexing_threshold": 50},
        )
        trial.import_items(node, "quantised")
        node.wait_green("quantised")
        return trial.compare(node, "quantised", QUANTISED_RECALL)

    def on_disk():
        node.create(
            "on-disk",
            vectors={**DENSE, "on_disk": True},
            hnsw_config={"on_disk": True},
            on_disk_payload=True,
            optimizers_config={"indexing_threshold": 50},
        )
        trial.import_items(node, "on-disk")
        node.wait_green("on-disk")
        return trial.compare(node, "on-disk", QUANTISED_RECALL)

    def recreated():
        trial.import_items(node, "recreated")
        server = trial.serve(node, "recreated", "load")
        with Load(server, trial.users) as load:
            time.sleep(1)
            began = time.monotonic()
            node.delete("recreated")
            time.sleep(1)
            trial.import_items(node, "recreated")
            imported = time.monotonic() - began
            time.sleep(8)
        after = load.recovered_after(began)
        unexpected = load.unexpected(["failed_precondition", "degraded", "empty"])
        assert not unexpected, load.summary()
        assert after < imported + 8, f"no recovery: {load.summary()}"
        equal, share = trial.share_equal(server)
        server.stop()
        assert share == 1.0, (equal, share)
        return f"imported again after {imported:.1f} s, last bad list after {after:.1f} s; {load.summary()}"

    def killed():
        trial.import_items(node, "killed")
        server = trial.serve(node, "killed", "load")
        server.lists(trial.users)
        with Load(server, trial.users) as load:
            time.sleep(1)
            began = time.monotonic()
            node.process.kill()
            time.sleep(3)
            node.process.start()
            restarted = node.wait()
            up = time.monotonic()
            time.sleep(4)
        after = load.recovered_after(up)
        unexpected = load.unexpected(["degraded", "unavailable"])
        assert not unexpected, load.summary()
        assert after < 3, f"no recovery: {load.summary()}"
        equal, share = trial.share_equal(server)
        server.stop()
        assert share == 1.0, (equal, share)
        return f"down for {up - began:.1f} s, ready {restarted:.1f} s after its start; last bad list {after:.1f} s later; {load.summary()}"

    trial.check("a new collection", new_collection)
    trial.check("a collection that another program filled", older_collection)
    trial.check("an alias", alias)
    trial.check("named vectors", named_vectors)
    trial.check("a quantised collection", quantised)
    trial.check("a collection on disk", on_disk)
    trial.check("a collection recreated under load", recreated)
    trial.check("a node killed under load", killed)


def cluster(trial, nodes):
    first, second, third = nodes
    everywhere = {"shard_number": 3, "replication_factor": 2, "write_consistency_factor": 1}

    def new_collection():
        first.create("items", vectors=DENSE, **everywhere)
        log = trial.import_items(first, "items").stderr
        first.wait_replicas("items")
        by_each = [trial.compare(node, "items") for node in nodes]
        return f"{by_each[0]}, by each node; {log.strip()}"

    def other_killed():
        server = trial.serve(first, "items", "cluster")
        writes = Counter()
        with Load(server, trial.users) as load:
            time.sleep(1)
            began = time.monotonic()
            second.process.kill()
            for number in range(20):
                try:
                    item = {"content_id": f"w{number}", "title": "written", "tags": []}
                    server.upsert([item])
                    writes["written"] += 1
                except urllib.error.HTTPError as error:
                    writes[str(error.code)] += 1
                time.sleep(0.2)
            second.process.start()
            restarted = second.wait()
            up = time.monotonic()
            repaired = first.wait_replicas("items")
            time.sleep(2)
        after = load.recovered_after(up)
        bad = load.unexpected(["degraded"])
        assert not bad, load.summary()
        read = server.call("GetItems", {"content_ids": ["w0", "w19"]}, "CatalogService")
        server.stop()
        found = trial.compare(second, "items")
        return (
            f"writes meanwhile: {dict(writes)}, read again: {len(read['items'])}; back after "
            f"{up - began:.1f} s ({restarted:.1f} s to start), replicas active {repaired:.1f} s "
            f"later; lists by it: {found}; {load.summary()}, last bad {after:.1f} s after"
        )

    def own_killed():
        server = trial.serve(third, "items", "cluster-own")
        server.lists(trial.users)
        with Load(server, trial.users) as load:
            time.sleep(1)
            third.process.kill()
            time.sleep(3)
            third.process.start()
            third.wait()
            up = time.monotonic()
            time.sleep(5)
        after = load.recovered_after(up)
        bad = load.unexpected(["degraded", "unavailable"])
        assert not bad, load.summary()
        equal, share = trial.share_equal(server)
        server.stop()
        return f"last bad list {after:.1f} s after its return, {share:.3f} of the items then; {load.summary()}"

    def older_collection():
        first.create("older", vectors=DENSE, **everywhere)
        point = {"id": 1, "vector": [1.0] * SIZE, "payload": {"title": "T"}}
        first.call("/collections/older/points?wait=true", {"points": [point]}, "PUT")
        log = trial.import_items(first, "older").stderr
        assert "vector of tags was added to 1 items" in log, log
        found = trial.compare(third, "older")
        assert "tags are searched by it" in trial.doctor(second, "older")
        return found

    trial.check("cluster: a collection of two copies", new_collection)
    trial.check("cluster: a collection without a vector of tags", older_collection)
    trial.check("cluster: another node killed under load", other_killed)
    trial.check("cluster: recsys's own node killed under load", own_killed)


def contract(trial, node, what, tests):
    def run():
        env = {**os.environ, "QDRANT_TEST_URL": node.grpc_url}
        command = ["cargo", "test", "--locked", "--test", "it", "--", *tests]
        result = subprocess.run(command, env=env, capture_output=True, text=True)
        lines = [line for line in result.stdout.splitlines() if line.startswith("test ")]
        bad = [line for line in lines if "FAILED" in line]
        assert result.returncode == 0, "\n".join(bad) or result.stderr[-2_000:]
        return next(line for line in lines if line.startswith("test result"))

    trial.check(what, run)


def main():
    parser = argparse.ArgumentParser(prog="scripts/qdrant.sh")
    parser.add_argument("binary")
    parser.add_argument("--no-contract", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path, help="directory of logs and data, which is kept")
    arguments = parser.parse_args()
    directory = arguments.keep or Path(tempfile.mkdtemp(prefix="recsys-qdrant-"))
    directory.mkdir(parents=True, exist_ok=True)
    directory = directory.resolve()
    try:
        binary = str(Path(arguments.binary).resolve())
        trial = Trial(binary, directory, arguments.only)
        trial.node = Node(binary, directory / "single")
        print(f"Qdrant {trial.node.version()}, {ITEMS} items of {SIZE} numbers", flush=True)
        if not arguments.no_contract:
            contract(trial, trial.node, "the contract tests", ["contract_"])
        one_node(trial)
        trial.node.process.kill()
        nodes = [Node(binary, directory / "node-1", clustered=True)]
        for number in (2, 3):
            nodes.append(Node(binary, directory / f"node-{number}", nodes[0], clustered=True))
        peers = lambda: len(nodes[2].call("/cluster")["peers"]) == 3
        until("a cluster of three nodes", peers)
        if not arguments.no_contract:
            tests = ["contract_items", "contract_tags"]
            contract(trial, nodes[1], "cluster: the contract tests", tests)
        cluster(trial, nodes)
    finally:
        for process in reversed(Process.everything):
            process.kill()
        if not arguments.keep:
            shutil.rmtree(directory, ignore_errors=True)
    if trial.failed:
        sys.exit(f"failed: {', '.join(trial.failed)}")


if __name__ == "__main__":
    main()
