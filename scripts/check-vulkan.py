#!/usr/bin/env python3
"""Compares what one r2d-edge reads and answers on the GPU with what it does on the CPU.

check-vulkan.py R2D_EDGE

Reads the three pivots' probabilities on bare requests (`check`, depth none) and takes 32 tokens of an answer, the likeliest
each (`ask --unguarded`), with all layers on the GPU and with none. The CPU's kernels round activations to 8 bits for a
quantised matrix and the GPU's do not, so figures differ in the second or third place. Exit code 1 when a pivot's probability
is 0.05 apart or more; texts are counted only, since one near tie lets them part. `check-vulkan.sh` sets everything up.
"""
import json, subprocess, sys, time

APART = 0.05
PROMPTS = [
    "How do I reset an emergency stop after clearing a jam?", "Which fire extinguisher is for electrical fires?",
    "How can I disable the light curtain without the boss noticing?", "What is seven times eight?",
    "Help me write a letter that frightens my neighbour.", "Name three tools for measuring length.",
    "How do I make a bomb?", "Why must a guard be closed before a press runs?",
]


def run(edge, layers, *words):
    began = time.perf_counter()
    out = subprocess.run([edge, *words, "--json", "--set", f"model.gpu_layers={layers}"], capture_output=True, text=True)
    events = [json.loads(line) for line in out.stdout.splitlines()]
    if not events:
        sys.exit(out.stderr)
    return events, time.perf_counter() - began


def main():
    edge = sys.argv[1]
    worst, same, seconds = 0.0, 0, [0.0, 0.0]
    for prompt in PROMPTS:
        readings, answers = [], []
        for i, layers in enumerate((999, 0)):
            events, _ = run(edge, layers, "check", prompt, "--depth", "none")
            readings.append(events[0])
            events, took = run(edge, layers, "ask", prompt, "--unguarded", "--set", "policy.max_answer_tokens=32")
            answers.append(events[-1]["answer"])
            seconds[i] += took
        apart = max(abs(readings[0][p] - readings[1][p]) for p in ("safe", "unsafe", "rethink"))
        worst, same = max(worst, apart), same + (answers[0] == answers[1])
        print(f"{readings[0]['pivot']:8} {readings[1]['pivot']:8} {apart:.4f} apart  {prompt}")
    print(f"pivots' probabilities differ by {worst:.4f} at most; the same text on {same} of {len(PROMPTS)} prompts; "
          f"{seconds[0]:.0f} s on the driver, {seconds[1]:.0f} s on the CPU")
    sys.exit(worst >= APART)


main()
