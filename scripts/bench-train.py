#!/usr/bin/env python3
"""Trains the same steps with r2d-edge and with PyTorch + PEFT on the same GGUF, and compares speed and memory.

bench-train.py run --binary r2d-edge --model MODEL.gguf --data TRAJECTORIES.jsonl --recipe RECIPE.toml
                   [--steps 20] [--threads 2]
bench-train.py torch MODEL.gguf ROWS.jsonl --recipe ... : the PyTorch side alone, a process of its own.

Both learn the rows that `distill data tokens` exports, in the same steps, with the same rank, losses, optimiser, number
format (float32) and threads. They take turns, so that neither has a better hour of the machine than the other; the
first step of a turn warms it up and is not counted. What PyTorch is given so that nothing favours us: rows of like length
come together (less padding), the head runs on supervised rows only, attention is fused, and its peak of memory counts
from behind the loading of the model, where ours is that of the whole process. Steps whose losses differ between the two
before anything was learnt show that the two do not compute the same; that ends the comparison with exit code 1.
`bench-train.sh` sets everything up.
"""
import argparse, json, os, resource, subprocess, sys, tempfile, time

TARGETS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj", "gate": "gate_proj", "up": "up_proj",
           "down": "down_proj"}
# The two sides' losses of the first step may be this far apart, in parts: llama.cpp's blocks are the same floats.
LOSS_APART = 0.01
TURNS = 4


def peak_bytes():
    """The most that this process held since its peak was last set back."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def reset_peak():
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")


def micro_batches(rows, most):
    """A step in parts of at most `most` tokens, padding counted, as memory allows."""
    parts = []
    for row in rows:
        width = max([len(row["tokens"])] + [len(r["tokens"]) for r in parts[-1]] if parts else [0])
        if not parts or width * (len(parts[-1]) + 1) > most:
            parts.append([])
        parts[-1].append(row)
    return parts


def torch_side(args):
    import torch
    import tomllib
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    recipe = tomllib.load(open(args.recipe, "rb"))["train"]
    if recipe["normalisation"] != "tokens" or recipe["balance"] != "classes" or recipe["dropout"] != 0.0:
        sys.exit("the comparison knows normalisation = tokens, balance = classes and dropout = 0 only")
    folder, name = os.path.split(os.path.abspath(args.gguf))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32,
                                                 attn_implementation="sdpa")
    lora = LoraConfig(r=recipe["rank"], lora_alpha=recipe["alpha"], lora_dropout=0.0, task_type="CAUSAL_LM",
                      target_modules=[TARGETS[t] for t in recipe["targets"]])
    model = get_peft_model(model, lora)
    body, head = model.base_model.model.model, model.base_model.model.lm_head
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe["learning_rate"], betas=(recipe["beta1"], recipe["beta2"]),
                                  eps=recipe["epsilon"], weight_decay=recipe["weight_decay"])
    steps = {}
    with open(args.rows, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            steps.setdefault(row["step"], []).append(row)
    model.train()
    reset_peak()
    for step in sorted(steps):
        # The other side's turn lasts until a line comes.
        if (step - min(steps)) % args.turn == 0 and not sys.stdin.readline():
            return
        began = time.perf_counter()
        rows = steps[step]
        # What a learnt token and a contrast weigh in the whole step.
        learnt = sum(s["weight"] * (s["positions"]["end"] - s["positions"]["start"]) for r in rows for s in r["spans"])
        classes = {}
        for pivot in (p for r in rows for p in r["pivots"]):
            classes[pivot["plus"]] = classes.get(pivot["plus"], 0) + 1
        swrd = cpo = 0.0
        optimiser.zero_grad(set_to_none=True)
        for part in micro_batches(rows, recipe["micro_tokens"]):
            width = max(len(r["tokens"]) for r in part)
            ids = torch.zeros((len(part), width), dtype=torch.long)
            mask = torch.zeros((len(part), width), dtype=torch.long)
            at, weights, contrasts = [], {}, []
            for i, row in enumerate(part):
                ids[i, : len(row["tokens"])] = torch.tensor(row["tokens"])
                mask[i, : len(row["tokens"])] = 1
                for span in row["spans"]:
                    for p in range(span["positions"]["start"], span["positions"]["end"]):
                        weights[i, p - 1] = (row["tokens"][p], span["weight"] / learnt)
                for pivot in row["pivots"]:
                    contrasts.append(((i, pivot["position"] - 1), pivot["plus"], pivot["minus"],
                                      recipe["cpo"] / classes[pivot["plus"]]))
            at = sorted(set(weights) | {c[0] for c in contrasts})
            place = {key: n for n, key in enumerate(at)}
            hidden = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            logits = head(hidden[[i for i, _ in at], [p for _, p in at]])
            where = torch.tensor([place[key] for key in weights], dtype=torch.long)
            target = torch.tensor([t for t, _ in weights.values()], dtype=torch.long)
            weight = torch.tensor([w for _, w in weights.values()])
            loss = (torch.nn.functional.cross_entropy(logits[where], target, reduction="none") * weight).sum()
            swrd += loss.item()
            if contrasts:
                n = torch.tensor([place[c[0]] for c in contrasts])
                plus, minus = torch.tensor([c[1] for c in contrasts]), torch.tensor([c[2] for c in contrasts])
                each = torch.nn.functional.logsigmoid(logits[n, plus] - logits[n, minus])
                contrast = -(each * torch.tensor([c[3] for c in contrasts])).sum()
                cpo += contrast.item()
                loss = loss + contrast
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, recipe["clip"])
        optimiser.step()
        seconds = time.perf_counter() - began
        n_tokens = sum(len(r["tokens"]) for r in rows)
        print(json.dumps({"n_tokens": n_tokens, "seconds": seconds, "swrd": swrd, "cpo": cpo, "peak": peak_bytes()}),
              flush=True)


def our_turn(args, folder):
    """Ours makes a turn's steps, the first or the next; returns the peak of its processes until now, in bytes."""
    command = [args.binary, "distill", "train", "--data", args.data, "--recipe", args.recipe, "--model", args.model,
               "--threads", str(args.threads), "--max-steps", str(args.turn), "--out", os.path.join(folder, "run"),
               "--checkpoint-every", "1000000"]
    done = subprocess.run(command, capture_output=True, text=True)
    # 1: it stopped, be it behind its steps.
    if done.returncode != 0 and "it has made its steps" not in done.stdout:
        sys.exit(f"r2d-edge ended with {done.returncode}: {done.stdout}{done.stderr}")
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def our_steps(folder):
    """Steps of ours, as its log has them."""
    rows = []
    with open(os.path.join(folder, "run", "log.jsonl"), encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if "step" in row:
                seconds = row["n_tokens"] / row["tokens_per_s"]
                rows.append({key: row[key] for key in ("n_tokens", "swrd", "cpo")} | {"seconds": seconds})
    return rows


def run(args):
    """Both sides by turns."""
    if args.steps < TURNS:
        sys.exit(f"{args.steps} steps are too few for {TURNS} turns; hint: --steps {TURNS} and more")
    args.turn = -(-args.steps // TURNS) + 1
    n_steps = TURNS * args.turn
    with tempfile.TemporaryDirectory() as folder:
        tokens = os.path.join(folder, "rows.jsonl")
        our_peak = our_turn(args, folder)
        subprocess.run([args.binary, "distill", "data", "tokens", args.data, "--recipe", args.recipe, "--model", args.model,
                        "--steps", str(n_steps), "--out", tokens], check=True)
        command = [sys.executable, os.path.abspath(__file__), "torch", args.model, tokens, "--recipe", args.recipe,
                   "--threads", str(args.threads), "--turn", str(args.turn)]
        with open(tokens, encoding="utf-8") as lines:
            n_there = len({json.loads(line)["step"] for line in lines})
        if n_there < n_steps:
            sys.exit(f"the data gives {n_there} steps, and {n_steps} are wanted; hint: fewer --steps, or more data")
        theirs = []
        env = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as torch:
            for turn in range(TURNS):
                if turn > 0:
                    our_peak = our_turn(args, folder)
                torch.stdin.write("go\n")
                torch.stdin.flush()
                for _ in range(args.turn):
                    line = torch.stdout.readline()
                    if not line:
                        sys.exit("the PyTorch side failed")
                    theirs.append(json.loads(line))
        ours = our_steps(folder)
        their_peak = max(row["peak"] for row in theirs)
    if [r["n_tokens"] for r in ours] != [r["n_tokens"] for r in theirs]:
        sys.exit("the two sides saw different rows")
    for key in ("swrd", "cpo"):
        a, b = ours[0][key], theirs[0][key]
        print(f"first step, {key}: {a:.5f} and {b:.5f}")
        if abs(a - b) > LOSS_APART * abs(b):
            sys.exit("the two sides do not compute the same loss")
    speed = {}
    for name, rows, peak in (("r2d-edge", ours, our_peak), ("PyTorch + PEFT", theirs, their_peak)):
        counted = [row for i, row in enumerate(rows) if i % args.turn > 0]
        speed[name] = sum(r["n_tokens"] for r in counted) / sum(r["seconds"] for r in counted), peak
        print(f"{name}: {speed[name][0]:.1f} tokens/s over {len(counted)} steps of "
              f"{sum(r['n_tokens'] for r in counted)} tokens, at most {peak / 1e6:.0f} MB")
    (a, m), (b, n) = speed.values()
    print(f"r2d-edge is {a / b:.2f} times as fast and takes {m / n:.2f} of the memory")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = args.add_subparsers(dest="command", required=True)
    both = commands.add_parser("run")
    for name in ("binary", "model", "data", "recipe"):
        both.add_argument(f"--{name}", required=True)
    both.add_argument("--steps", type=int, default=20)
    both.add_argument("--threads", type=int, default=2)
    alone = commands.add_parser("torch")
    alone.add_argument("--turn", type=int, required=True)
    alone.add_argument("gguf"), alone.add_argument("rows"), alone.add_argument("--recipe", required=True)
    alone.add_argument("--threads", type=int, default=2)
    args = args.parse_args()
    if args.command == "run":
        run(args)
    else:
        torch_side(args)


if __name__ == "__main__":
    main()
