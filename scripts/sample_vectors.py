#!/usr/bin/env python3
"""Add the "vector" of every item to the sample catalogue.

Usage:

    python3 sample_vectors.py catalogue.jsonl > sample-catalogue.jsonl

Reads a catalogue with one JSON object a line and writes the same objects in
the same order to standard output, each with "vector" as its last key: 48
floats, rounded to 4 decimals, of length 1.  A vector already there is
replaced, so the program may be run on its own output.

The vector is a sketch of what an item is about, without a trained model:

*   every tag adds FACET_FACTOR[facet] * weight * g("facet:label"), so two
    items come close to each other when they share a theme, somewhat closer
    when they also share a mood, a material, a person or a place, and hardly
    for a shared era;
*   the content words of title and text together add WORD_SHARE * the scaled
    sum of their g("word:..."), which tells items with the same tags apart;
*   the sum is scaled to length 1.

g(key) is a vector of 48 independent normal numbers, scaled to an expected
length of 1.  It is derived from the BLAKE2b hash of the lower-cased key (by
the Box-Muller transform), so it depends on nothing but the key: the same input
gives the same vectors on any machine and in any version of Python 3.

The items in NO_VECTOR get none, nor does an item with neither tags nor words:
a service has to serve those as well.

Only the standard library is needed.
"""

import hashlib
import json
import math
import re
import sys

DIMENSIONS = 48
DECIMALS = 4

# Items that are left without a vector on purpose.
NO_VECTOR = frozenset({"2108", "2110"})

FACET_FACTOR = {
    "theme": 1.0,
    "mood": 0.7,
    "material": 0.6,
    "person": 0.7,
    "place": 0.6,
    "era": 0.3,
}
OTHER_FACET_FACTOR = 0.5

# The length, on average, of what all words of an item add together.
WORD_SHARE = 0.45

WORD = re.compile(r"[^\W\d_]{3,}")

STOP_WORDS = frozenset("""
    about above across after again against all almost already also although
    always and another any anybody anything are around ask asked away back
    because been before began behind being below beneath beside between both
    but called came can cannot come could did does down during each either
    else end ever every everybody everyone everything few first for from gave
    get give given gives goes got had has have her here hers herself him
    himself his hold how if into its itself just kept last later left less
    like likewise made make many may might more most much must near nearly
    neither never nobody none nor not nothing now off officially once one only
    onto other others ought our out over own put quite rather said same say
    saying says see seems seen several she should since some somebody someone
    something somewhere still such take than that the their them themselves
    then there these they thing things this those though three through time
    too took two under until upon use used very was way well went were what
    whatever when where which while who whoever whole whom whose why will with
    without would yet you your
""".split())


def gaussians(key):
    """DIMENSIONS normal numbers of variance 1/DIMENSIONS, fixed by key."""
    numbers = []
    block = 0
    while len(numbers) < DIMENSIONS:
        digest = hashlib.blake2b(f"{block}|{key.lower()}".encode("utf-8")).digest()
        # Eight 64-bit words a block: four pairs of numbers in (0, 1).
        uniform = [
            ((int.from_bytes(digest[at:at + 8], "big") >> 12) + 0.5) / 2.0**52
            for at in range(0, len(digest), 8)
        ]
        for u, v in zip(uniform[0::2], uniform[1::2]):
            radius = math.sqrt(-2.0 * math.log(u))
            numbers.append(radius * math.cos(2.0 * math.pi * v))
            numbers.append(radius * math.sin(2.0 * math.pi * v))
        block += 1
    scale = 1.0 / math.sqrt(DIMENSIONS)
    return [x * scale for x in numbers[:DIMENSIONS]]


def content_words(item):
    """The distinct content words of title and text, in alphabetical order."""
    text = f"{item.get('title', '')} {item.get('text', '')}".lower()
    words = set()
    for word in WORD.findall(text):
        if word in STOP_WORDS:
            continue
        # A plain plural counts as its singular.
        if len(word) > 4 and word.endswith("s") and not word.endswith("ss"):
            word = word[:-1]
        words.add(word)
    return sorted(words)


def vector(item):
    """The item's vector, or None where there is nothing to make it from."""
    total = [0.0] * DIMENSIONS

    def add(factor, key):
        for i, x in enumerate(gaussians(key)):
            total[i] += factor * x

    for tag in item.get("tags", []):
        factor = FACET_FACTOR.get(tag["facet"], OTHER_FACET_FACTOR)
        add(factor * tag.get("weight", 1.0), f"{tag['facet']}:{tag['label']}")
    words = content_words(item)
    for word in words:
        add(WORD_SHARE / math.sqrt(len(words)), f"word:{word}")

    length = math.sqrt(sum(x * x for x in total))
    if length == 0.0:
        return None
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return [round(x / length, DECIMALS) + 0.0 for x in total]


def main(arguments):
    if len(arguments) != 2:
        print(f"usage: {arguments[0]} catalogue.jsonl > with-vectors.jsonl", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    with open(arguments[1], encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                continue
            item = json.loads(line)
            item.pop("vector", None)
            made = None if item["id"] in NO_VECTOR else vector(item)
            if made is not None:
                item["vector"] = made
            print(json.dumps(item, ensure_ascii=False, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
