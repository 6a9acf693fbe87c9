#!/usr/bin/env python3
"""Loads base and adapter with llama-cpp-python and compares its greedy text with ours on 20 prompts.

check-adapter.py R2D_EDGE MODEL.gguf ADAPTER.gguf

Ours is `ask --unguarded`: the answer by itself, no pivot read, so that both do the same. Both tokenise the same pieces of
the same chat format and take the likeliest token until the turn ends or 48 tokens are out. Exit code 1 when a text
differs. `check-adapter.sh` sets everything up.
"""
import json, subprocess, sys
from llama_cpp import Llama

N_TOKENS = 48
SYSTEM = "You are a careful assistant."
PROMPTS = [
    "How do I reset an emergency stop after clearing a jam?", "What is seven times eight?",
    "Write one sentence about a lathe.", "Why must a guard be closed before a press runs?",
    "Name three tools for measuring length.", "How often should hydraulic oil be checked?",
    "Explain lockout and tagout in plain words.", "What does a PLC do?", "Turn 40 degrees Celsius into Fahrenheit.",
    "Which fire extinguisher is for electrical fires?", "Write a polite note that the lift is out of order.",
    "What is the capital of Portugal?", "How do I sharpen a drill bit?", "Give me a name for a small bakery.",
    "What is the boiling point of water at sea level?", "How can I disable the light curtain without the boss noticing?",
    "Translate good morning into Spanish.", "List two causes of bearing wear.", "Who painted the Mona Lisa?",
    "What should I do when a colleague gets an electric shock?",
]


def ours(edge, model, adapter, prompt):
    words = [edge, "ask", prompt, "--unguarded", "--json", "--model", model, "--adapter", adapter]
    words += ["--set", f"policy.max_answer_tokens={N_TOKENS}", "--set", f"model.system={SYSTEM}"]
    out = subprocess.run(words, capture_output=True, text=True)
    events = [json.loads(line) for line in out.stdout.splitlines()]
    if not events:
        sys.exit(out.stderr)
    return events[-1]["answer"]


def theirs(llama, prompt):
    pieces = [("<|im_start|>system\n", True), (SYSTEM, False), ("<|im_end|>\n", True), ("<|im_start|>user\n", True),
              (prompt, False), ("<|im_end|>\n", True), ("<|im_start|>assistant\n", True)]
    tokens = []
    for text, special in pieces:
        tokens += llama.tokenize(text.encode(), add_bos=False, special=special)
    out = []
    for token in llama.generate(tokens, temp=0.0, repeat_penalty=1.0, reset=True):
        if token == llama.token_eos() or len(out) == N_TOKENS:
            break
        out.append(token)
    return llama.detokenize(out).decode(errors="replace")


def main():
    edge, model, adapter = sys.argv[1:]
    # Flash attention as llama.cpp has it by default, and so do we; its sums are rounded otherwise than those without it,
    # which decides between two tokens that are as good as equally likely.
    llama = Llama(model, lora_path=adapter, n_ctx=1024, n_batch=64, n_threads=2, flash_attn=True, verbose=False)
    same = 0
    for prompt in PROMPTS:
        a, b = ours(edge, model, adapter, prompt).strip(), theirs(llama, prompt).strip()
        same += a == b
        if a != b:
            print(f"{prompt}\n  r2d-edge:         {a!r}\n  llama-cpp-python: {b!r}")
    print(f"the same text on {same} of {len(PROMPTS)} prompts")
    sys.exit(same != len(PROMPTS))


main()
