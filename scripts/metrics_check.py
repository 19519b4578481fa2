"""Recomputes the results of `recsys eval` from its lists with pytrec_eval (the
code of NIST's trec_eval) and numpy: metrics_check.py PROGRAM DIRECTORY."""

import csv
import json
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy
import pytrec_eval

USERS, ITEMS, EVENTS, K = 60, 40, 900, 5
HISTORIES = {"0": range(0, 1), "1-4": range(1, 5), "5+": range(5, 10**9)}


def write_log(directory):
    """A shop's export: users come back to a category, some items are popular."""
    rng = random.Random(7)
    category = {item: item % 6 for item in range(ITEMS)}
    events = []
    for number in range(EVENTS):
        user = rng.randrange(USERS)
        liked = [item for item in range(ITEMS) if category[item] == user % 6]
        item = rng.choice(liked) if rng.random() < 0.5 else int(ITEMS * rng.random() ** 2)
        kind = rng.choice(["product_view", "product_view", "add_to_cart", "purchase"])
        events.append([f"u{user}", f"i{item}", kind, 1_780_000_000 + number * 3_600])
    rng.shuffle(events)
    with open(directory / "events.csv", "w", newline="") as file:
        csv.writer(file).writerows([["user", "product", "action", "timestamp"], *events])
    rows = [[f"i{item}", f"Item {item}", f"Category {category[item]}"] for item in range(ITEMS)]
    with open(directory / "products.csv", "w", newline="") as file:
        csv.writer(file).writerows([["product_id", "name", "category"], *rows])


def measured(lists):
    """HR, NDCG and MRR of each list, by its name."""
    qrels = {name: {one["liked_next"]: 1} for name, one in lists.items()}
    run = {
        name: {item: float(len(one["items"]) - place) for place, item in enumerate(one["items"])}
        for name, one in lists.items()
    }
    names = {f"success_{K}": "HR", f"ndcg_cut_{K}": "NDCG", "recip_rank": "MRR"}
    evaluator = pytrec_eval.RelevanceEvaluator(
        qrels, {f"success.{K}", f"ndcg_cut.{K}", "recip_rank"}
    )
    found = evaluator.evaluate(run)
    return {
        name: {ours: found.get(name, {}).get(theirs, 0.0) for theirs, ours in names.items()}
        for name in lists
    }


def interval(values, users, rng):
    """95 % by bootstrap over users."""
    sums, counts = defaultdict(float), defaultdict(int)
    for value, user in zip(values, users):
        sums[user] += value
        counts[user] += 1
    names = sorted(sums)
    sums = numpy.array([sums[name] for name in names])
    counts = numpy.array([counts[name] for name in names])
    drawn = rng.integers(len(names), size=(4_000, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return numpy.quantile(means, [0.025, 0.975])


def close(what, ours, theirs, within=1e-9):
    global checked
    checked += 1
    if abs(ours - theirs) > within:
        sys.exit(f"{what}: recsys says {ours}, the other library {theirs}")


checked = 0
program, directory = sys.argv[1], Path(sys.argv[2])
write_log(directory)
command = [program, "eval", "--k", str(K), "--warmup", "0.1"]
for flag, name in {
    "--events": "events.csv",
    "--catalog": "products.csv",
    "--json": "report.json",
    "--lists": "lists.jsonl",
}.items():
    command += [flag, str(directory / name)]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
report = json.loads((directory / "report.json").read_text())
lists = defaultdict(dict)
for line in (directory / "lists.jsonl").read_text().splitlines():
    one = json.loads(line)
    lists[one["ranker"]][str(one["list"])] = one
rng = numpy.random.default_rng(1)
scores = {}
for ranker in report["rankers"]:
    name = ranker["name"]
    own = lists[name]
    assert len(own) == report["lists"]["lists"] > 100, "lists are missing"
    scores[name] = values = measured(own)
    for measure in ["HR", "NDCG", "MRR"]:
        key = f"{measure}@{K}"
        every = [values[one][measure] for one in own]
        close(f"{name} {key}", ranker["measures"][key]["value"], numpy.mean(every))
        users = [own[one]["user"] for one in own]
        low, high = interval(every, users, rng)
        close(f"{name} {key} low", ranker["measures"][key]["low"], low, 0.01)
        close(f"{name} {key} high", ranker["measures"][key]["high"], high, 0.01)
        for history in ranker["by_history"]:
            span = HISTORIES[history["history"]]
            some = [values[one][measure] for one in own if own[one]["earlier_events"] in span]
            assert len(some) == history["lists"]
            if some:
                close(f"{name} {key} {history}", history["measures"][key]["value"], numpy.mean(some))
    shown = {item for one in own.values() for item in one["items"]}
    close(f"{name} coverage", ranker["coverage"], len(shown) / ITEMS)
    for one in own.values():
        place = one["items"].index(one["liked_next"]) + 1 if one["liked_next"] in one["items"] else None
        assert one["rank"] == place, one
for pair in report["differences"]:
    for measure in ["HR", "NDCG", "MRR"]:
        a, b = scores[pair["ranker"]], scores[pair["against"]]
        difference = [a[one][measure] - b[one][measure] for one in a]
        users = [lists[pair["ranker"]][one]["user"] for one in a]
        ours = pair["measures"][f"{measure}@{K}"]
        what = f"{pair['ranker']} - {pair['against']} {measure}"
        close(what, ours["value"], numpy.mean(difference))
        low, high = interval(difference, users, rng)
        close(f"{what} low", ours["low"], low, 0.01)
        close(f"{what} high", ours["high"], high, 0.01)
print(f"{checked} values agree with pytrec_eval and numpy")
