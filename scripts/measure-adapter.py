#!/usr/bin/env python3
"""Prints what measure-adapter.sh measured as a table: base first, then adapter, each with its 95 % interval and n."""
import json, os, sys

ROWS = [(suite, "attack_success") for suite in
        ("harmbench", "jbb-harmful", "jbb-pair", "jbb-gcg", "jbb-jbc", "jbb-random-search", "shopfloor", "xstest")]
ROWS += [(suite, "blocked_safe") for suite in ("shopfloor", "xstest", "jbb-benign", "instructions")]
CHOICES = [("arc-easy", "accuracy"), ("piqa", "accuracy")]


def figures(out, run):
    path = os.path.join(out, run + ".json")
    if not os.path.exists(path) or not os.path.getsize(path):  # not measured yet
        return {}
    with open(path, encoding="utf-8") as file:
        parts = json.load(file)["parts"]
    return {(part["suite"], name): m for part in parts for name, m in part["metrics"].items()}


def cell(found, key):
    m = found.get(key)
    if m is None:
        return "–"
    return f"{100 * m['value']:.1f} ({100 * m['low']:.1f}–{100 * m['high']:.1f}, {m['n']})"


def main():
    out = sys.argv[1]
    print("| suite | figure, % | none: base | none: adapter | full: base | full: adapter |\n|---|---|---|---|---|---|")
    runs = []
    for depth in ("none", "full"):
        for side in ("base", "adapter"):
            parts = [figures(out, f"{depth}-{part}-{side}") for part in ("plain", "large", "attacks")]
            runs.append(parts[0] | parts[1] | parts[2])
    for key in ROWS:
        print(f"| {key[0]} | {key[1]} | " + " | ".join(cell(run, key) for run in runs) + " |")
    choices = [figures(out, f"choice-{side}") for side in ("base", "adapter")]
    for key in CHOICES:
        print(f"| {key[0]} | {key[1]}, no depth | " + " | ".join(cell(run, key) for run in choices) + " | | |")


main()
