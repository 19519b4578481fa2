"""Fills a recsys and its Redis, and prints what users and items take in memory. A
part of scripts/memory.sh.

Usage: memory_client.py RECSYS FOLDER
RECSYS is the program, FOLDER holds the generated stubs and room for files.
"""

import contextlib
import json
import math
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import uuid

program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
sys.path.insert(0, str(folder / "stubs"))

import grpc
from google.protobuf import timestamp_pb2
from recsys.v1 import recommender_pb2, recommender_pb2_grpc, types_pb2

DIMENSIONS = 384
ITEMS = (0, 1_000, 10_000)
# Events of a user, with how many such users: one by itself would tell of chance.
EVENTS = {50: 500, 500: 100, 5_000: 20}
BATCH = 500
# Longest that a call or a start may take: only to end what hangs.
PATIENCE_S = 120


def write_catalogue(count):
    """Items with 384 numbers, five tags and a text of 150 words."""
    path = folder / f"{count}.jsonl"
    with path.open("w") as file:
        for index in range(max(count, 1)):
            item = {
                "id": f"item-{index:06}",
                "title": f"The title of item number {index}",
                "text": "lighthouse " * 150,
                "content_type": "object",
                "word_count": 150,
                "tags": [
                    {"facet": "theme", "label": f"theme number {(index * 5 + tag) % 400}"}
                    for tag in range(5)
                ],
                "vector": [round(math.sin(index * DIMENSIONS + at), 6) for at in range(DIMENSIONS)],
            }
            file.write(json.dumps(item) + "\n")
    return path


@contextlib.contextmanager
def redis():
    """A Redis with an append-only file, on a socket; gives a way to ask it."""
    address = folder / "redis.sock"
    port = free_port()
    server = subprocess.Popen(
        [os.environ["REDIS_SERVER"], "--port", str(port), "--bind", "127.0.0.1",
         "--unixsocket", str(address), "--dir", str(folder), "--appendonly", "yes", "--save", ""],
        stdout=subprocess.DEVNULL,
    )

    def ask(*arguments):
        asked = subprocess.run(
            ["redis-cli", "-s", str(address), *arguments], capture_output=True, text=True
        )
        return asked.stdout.strip()

    try:
        until = time.monotonic() + PATIENCE_S
        while ask("ping") != "PONG":
            if time.monotonic() > until:
                sys.exit("redis-server did not start")
            time.sleep(0.05)
        yield port, ask
    finally:
        server.terminate()
        server.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def serving(**settings):
    """Runs the program until the block ends; gives a stub and its process id."""
    process = subprocess.Popen(
        [program, "serve", "--listen-addr", "127.0.0.1:0"],
        env={name: str(value) for name, value in settings.items()} | {"RECSYS_LOG_FORMAT": "text"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        for line in process.stderr:
            if at := re.search(r"serving gRPC address=\S*:(\d+)", line):
                break
        else:
            sys.exit("recsys did not start")
        channel = grpc.insecure_channel(f"127.0.0.1:{at[1]}")
        grpc.channel_ready_future(channel).result(PATIENCE_S)
        yield recommender_pb2_grpc.RecommenderServiceStub(channel), process.pid
    finally:
        process.terminate()
        process.communicate()


def resident_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def item_row(count):
    with serving(CATALOG_PATH=write_catalogue(count)) as (stub, pid):
        request = recommender_pb2.RecommendRequest(user_id="ada", limit=5)
        stub.Recommend(request, timeout=PATIENCE_S)
        return resident_bytes(pid)


def event(user, number, count, ids):
    """One of `count` views over 20 days, each of another item; every tenth one with
    ten items on display."""
    at = timestamp_pb2.Timestamp()
    at.FromSeconds(int(time.time()) - (count - number) * 20 * 86_400 // count)
    return types_pb2.InteractionEvent(
        user_id=user,
        event_type="CONTENT_VIEW_ENDED",
        event_time=at,
        event_id=str(uuid.uuid4()),
        session_id=ids[0],
        request_id=ids[1],
        content_id=f"item-{number:06}",
        dwell_seconds=5 + number % 60,
        end_reason="END_REASON_NEXT_BUTTON",
        impressions=[f"item-{number + at:06}" for at in range(10)] if number % 10 == 0 else [],
    )


def fill(stub, user, count):
    ids = (str(uuid.uuid4()), str(uuid.uuid4()))
    events = [event(user, number, count, ids) for number in range(count)]
    for begin in range(0, count, BATCH):
        batch = recommender_pb2.BatchIngestEventsRequest(events=events[begin : begin + BATCH])
        stub.BatchIngestEvents(batch, timeout=PATIENCE_S)
    signals = recommender_pb2.GetUserSignalsRequest(user_id=user)
    got = stub.GetUserSignals(signals, timeout=PATIENCE_S).signals.event_count
    if got != count:
        sys.exit(f"{user} has {got} events instead of {count}")


def kib(size):
    return f"{size / 1024:,.1f} KiB"


def main():
    print("items in memory | resident | for each item")
    sizes = {count: item_row(count) for count in ITEMS}
    for count, size in sizes.items():
        each = kib((size - sizes[0]) / count) if count else ""
        print(f"{count:,} | {size / 2**20:.1f} MiB | {each}", flush=True)

    print("events of a user | buffer | model | both, by the growth of Redis")
    catalogue = write_catalogue(ITEMS[-1])
    with redis() as (port, ask):
        with serving(CATALOG_PATH=catalogue, REDIS_URL=f"redis://127.0.0.1:{port}") as (stub, pid):
            # What Redis takes once is not the first user's.
            fill(stub, "warm-up", 50)
            for count, users in EVENTS.items():
                before = int(re.search(r"used_memory_dataset:(\d+)", ask("info", "memory"))[1])
                for user in range(users):
                    fill(stub, f"user-{count}-{user:04}", count)
                after = int(re.search(r"used_memory_dataset:(\d+)", ask("info", "memory"))[1])
                size = {
                    key: int(ask("memory", "usage", f"{key}:user-{count}-0000", "samples", "0"))
                    for key in ("evt", "umodel")
                }
                print(
                    f"{count:,} | {kib(size['evt'])} | {kib(size['umodel'])} | {kib((after - before) / users)}",
                    flush=True,
                )
            ask("bgrewriteaof")
            until = time.monotonic() + PATIENCE_S
            while re.search(r"aof_rewrite_(in_progress|scheduled):1", ask("info", "persistence")):
                if time.monotonic() > until:
                    sys.exit("the append-only file is not rewritten")
                time.sleep(0.1)
            file = int(re.search(r"aof_current_size:(\d+)", ask("info", "persistence"))[1])
            used = int(re.search(r"used_memory:(\d+)", ask("info", "memory"))[1])
            print(f"append-only file, rewritten: {file / 2**20:.1f} MiB for {used / 2**20:.1f} MiB in memory")
            print(f"recsys with {ITEMS[-1]:,} items and these users' buffers: {resident_bytes(pid) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
