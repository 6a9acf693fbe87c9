#!/usr/bin/env python3
"""Scores the choices of a finished run again, with PyTorch and transformers on the same GGUF.

check-choice.py MODEL.gguf RUN_FOLDER [--limit N]

An independent implementation of what runtime/eval/src/choice.rs does: same prompts, same continuations, no chat
template, sum of log-probabilities, and the same divided by bytes. Prints both accuracies beside those of the run; exit
code 1 when they are more than 3 points apart. `check-choice.sh` sets everything up.
"""
import argparse, json, os, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LIMIT_POINTS = 3.0


def pick(values):
    return max(range(len(values)), key=lambda i: values[i])


def main():
    args = argparse.ArgumentParser()
    args.add_argument("gguf"), args.add_argument("run"), args.add_argument("--limit", type=int)
    args = args.parse_args()
    folder, name = os.path.split(os.path.abspath(args.gguf))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]

    with open(os.path.join(args.run, "results.jsonl"), encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if "scored" in row["found"]][: args.limit]
    if not rows:
        sys.exit("the run has no scored choices; hint: eval run --suite arc-easy")
    right = {"ours": [0, 0], "theirs": [0, 0]}
    apart, same_pick = [], 0
    for row in rows:
        choices, correct = row["expected"]["choice"]["choices"], row["expected"]["choice"]["correct"]
        prompt = encode(row["prompt"])
        theirs = []
        for choice in choices:
            tokens = encode(choice)
            with torch.no_grad():
                logits = model(torch.tensor([prompt + tokens])).logits[0]
            log_p = torch.log_softmax(logits.double(), dim=-1)
            theirs.append(sum(log_p[len(prompt) - 1 + i, token].item() for i, token in enumerate(tokens)))
        ours = [score["log_prob"] for score in row["found"]["scored"]["scores"]]
        n_bytes = [len(choice.lstrip().encode()) for choice in choices]
        apart += [abs(a - b) for a, b in zip(ours, theirs)]
        same_pick += pick(ours) == pick(theirs)
        for who, scores in (("ours", ours), ("theirs", theirs)):
            right[who][0] += pick(scores) == correct
            right[who][1] += pick([s / n for s, n in zip(scores, n_bytes)]) == correct
    n, worst = len(rows), 0.0
    for i, metric in enumerate(("accuracy", "accuracy_bytes")):
        a, b = (100 * right[who][i] / n for who in ("ours", "theirs"))
        worst = max(worst, abs(a - b))
        print(f"{metric}: r2d-edge {a:.1f} %, transformers {b:.1f} % of {n} items")
    print(f"same choice picked: {same_pick} of {n}; log-probabilities apart: "
          f"mean {sum(apart) / len(apart):.4f}, worst {max(apart):.4f}")
    sys.exit(worst > LIMIT_POINTS)


if __name__ == "__main__":
    main()
