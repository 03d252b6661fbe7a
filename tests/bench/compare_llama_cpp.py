#!/usr/bin/env python3
"""kvinfer and llama.cpp side by side: prefill and decode speed on the same files, in one alternated run.

usage: compare_llama_cpp.py [--kvinfer build/release/bin/kvinfer] [--rounds 5] [--repeats 3] [--threads 2] [MODEL]...

Each round measures every model with kvinfer, then with llama.cpp without and with flash attention, each
in a process of its own, so that what disturbs the machine disturbs all. Best and median of the rounds are
printed as a table; llama.cpp counts with the better of its two settings. Before anything is timed, both
continue one prompt greedily, and the tokens that agree are printed.

llama.cpp is PyPI's llama-cpp-python, built once into a virtual environment under $KVINFER_CACHE for this
CPU's instruction sets, without AMX. It decodes given tokens and never samples; kvinfer is timed through its
CLI, sampling and streaming included.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

CACHE = pathlib.Path(os.environ.get("KVINFER_CACHE", pathlib.Path.home() / ".cache/kvinfer"))
MODELS = ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"]
VERSION = "0.3.36"
REPO = pathlib.Path(__file__).resolve().parents[2]
CHECK_TOKENS = 16
CHECK_PROMPT = "The capital of France is Paris. The capital of Italy is"

# CPUID's name (as Linux prints it): llama.cpp's option for it
CPU_OPTIONS = {
    "avx2": "GGML_AVX2", "fma": "GGML_FMA", "f16c": "GGML_F16C", "bmi2": "GGML_BMI2",
    "avx_vnni": "GGML_AVX_VNNI", "avx512f": "GGML_AVX512", "avx512vbmi": "GGML_AVX512_VBMI",
    "avx512_vnni": "GGML_AVX512_VNNI", "avx512_bf16": "GGML_AVX512_BF16",
}


def peer_python():
    """The interpreter of the virtual environment with llama.cpp, built where it is missing."""
    folder = CACHE / "peers" / f"llama-cpp-python-{VERSION}"
    python = folder / "bin/python"
    if (folder / "built").exists():
        return python
    flags = set(next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split())
    options = ["-DGGML_NATIVE=OFF"] + [
        f"-D{option}={'ON' if flag in flags else 'OFF'}" for flag, option in CPU_OPTIONS.items()]
    print(f"building llama-cpp-python {VERSION} in {folder}: minutes", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-binary", "llama-cpp-python",
         f"llama-cpp-python=={VERSION}"],
        env=os.environ | {"CMAKE_ARGS": " ".join(options)}, check=True)
    (folder / "built").touch()
    return python


class Peer:
    """One context of llama.cpp. All tokens are given; only the last of each sequence has logits."""

    def __init__(self, args):
        import ctypes
        import llama_cpp.llama_cpp as c
        self.c = c
        self.quiet = c.llama_log_callback(lambda level, text, data: None)
        c.llama_log_set(self.quiet, ctypes.c_void_p(0))
        c.llama_backend_init()
        self.model = c.llama_model_load_from_file(args.model.encode(), c.llama_model_default_params())
        self.vocab = c.llama_model_get_vocab(self.model)
        self.vocab_size = c.llama_vocab_n_tokens(self.vocab)
        params = c.llama_context_default_params()
        params.n_ctx = args.sequences * (args.prompt_len + args.gen_len + 64)
        params.n_seq_max = args.sequences
        params.kv_unified = args.sequences == 1
        params.n_batch = max(512, args.sequences * args.prompt_len)
        params.n_threads = params.n_threads_batch = args.threads
        params.flash_attn_type = 1 if args.flash_attention else 0
        self.context = c.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp makes no context")
        self.batch = c.llama_batch_init(params.n_batch, 0, 1)

    def clear(self):
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), False)

    def decode(self, entries):
        """entries: (sequence, first position, tokens), computed as one batch."""
        n = 0
        for sequence, position, tokens in entries:
            for i, token in enumerate(tokens):
                self.batch.token[n] = token
                self.batch.pos[n] = position + i
                self.batch.n_seq_id[n] = 1
                self.batch.seq_id[n][0] = sequence
                self.batch.logits[n] = i + 1 == len(tokens)
                n += 1
        self.batch.n_tokens = n
        if self.c.llama_decode(self.context, self.batch) != 0:
            raise SystemExit("llama_decode failed")
        self.c.llama_synchronize(self.context)

    def greedy(self, prompt, count):
        self.clear()
        self.decode([(0, 0, prompt)])
        tokens = []
        for position in range(len(prompt), len(prompt) + count):
            logits = self.c.llama_get_logits_ith(self.context, -1)
            tokens.append(max(range(self.vocab_size), key=lambda i: logits[i]))
            self.decode([(0, position, tokens[-1:])])
        return tokens

    def measure(self, args, seed):
        import random
        draw = random.Random(seed)
        tokens = [[draw.randrange(self.vocab_size) for _ in range(args.prompt_len + args.gen_len)]
                  for _ in range(args.sequences)]
        self.clear()
        start = time.perf_counter()
        self.decode([(s, 0, row[:args.prompt_len]) for s, row in enumerate(tokens)])
        prefilled = time.perf_counter()
        for i in range(args.prompt_len, args.prompt_len + args.gen_len - 1):
            self.decode([(s, i, row[i:i + 1]) for s, row in enumerate(tokens)])
        end = time.perf_counter()
        return (args.sequences * args.prompt_len / (prefilled - start),
                args.sequences * (args.gen_len - 1) / (end - prefilled))


def worker(args):
    peer = Peer(args)
    if args.prompt:
        return {"tokens": peer.greedy(args.prompt, CHECK_TOKENS)}
    runs = [peer.measure(args, seed) for seed in range(args.repeats + 1)][1:]  # the first warms up
    return {"prefill": max(r[0] for r in runs), "decode": max(r[1] for r in runs),
            "system": peer.c.llama_print_system_info().decode()}


def run_peer(python, args, model, sequences, flash_attention, prompt=()):
    command = [python, __file__, "--worker", "--threads", str(args.threads), "--prompt-len",
               str(args.prompt_len), "--gen-len", str(args.gen_len), "--sequences", str(sequences),
               "--repeats", str(args.repeats), "--prompt", json.dumps(list(prompt)), str(model)]
    if flash_attention:
        command.append("--flash-attention")
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_ours(args, model, sequences):
    command = [args.kvinfer, "bench", "-m", model, "--prompt-len", str(args.prompt_len), "--gen-len",
               str(args.gen_len), "--sequences", str(sequences), "--threads", str(args.threads),
               "--repeats", str(args.repeats), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {result["name"]: result["tokens_per_s"] for result in json.loads(output)["results"]}


def check_same_model(python, args, model):
    tokens = json.loads(subprocess.run(
        [args.kvinfer, "tokenize", "-m", model, "--json"], input=CHECK_PROMPT, check=True,
        capture_output=True, text=True).stdout)["tokens"]
    ours = json.loads(subprocess.run(
        [args.kvinfer, "run", "-m", model, "-p", CHECK_PROMPT, "-n", str(CHECK_TOKENS), "--temp", "0",
         "--ignore-eos", "--json"], check=True, capture_output=True, text=True).stdout)
    if ours["usage"]["prompt_tokens"] == len(tokens) + 1:  # the model wants its BOS
        inspected = json.loads(subprocess.run([args.kvinfer, "inspect", "-m", model, "--json"], check=True,
                                              capture_output=True, text=True).stdout)
        tokens.insert(0, inspected["bos_token"])
    theirs = run_peer(python, args, model, 1, False, tokens)["tokens"]
    agree = next((i for i, (a, b) in enumerate(zip(ours["tokens"], theirs)) if a != b), CHECK_TOKENS)
    print(f"{model.name}: the first {agree} of {CHECK_TOKENS} greedy tokens agree", file=sys.stderr)
    if agree == 0:
        raise SystemExit("the two do not run the same model: nothing is timed")


def compare(args):
    python = args.python or peer_python()
    models = [pathlib.Path(m) for m in args.models] or [CACHE / m for m in MODELS]
    for model in models:
        check_same_model(python, args, model)
    samples = {}  # (model, sequences, phase) -> {system: [tokens/s]}
    for _ in range(args.rounds):
        for model in models:
            for sequences in args.sequences_list:
                runs = {"kvinfer": run_ours(args, model, sequences)}
                for flash in (False, True):
                    runs["llama.cpp" + (" -fa" if flash else "")] = run_peer(
                        python, args, model, sequences, flash)
                for system, run in runs.items():
                    for phase in ("prefill", "decode"):
                        key = (model.name, sequences, phase)
                        samples.setdefault(key, {}).setdefault(system, []).append(run[phase])
    info = runs["llama.cpp"]["system"]
    print(f"llama-cpp-python {VERSION}; {info}\n")
    print("| model | work | kvinfer: best, median | llama.cpp: best, median | ratio of medians |")
    print("|---|---|---|---|---|")
    for (model, sequences, phase), systems in samples.items():
        ours = systems.pop("kvinfer")
        name, theirs = max(systems.items(), key=lambda item: statistics.median(item[1]))
        work = f"prefill {args.prompt_len}" if phase == "prefill" else f"decode {args.gen_len}"
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"| {model} | {work}, {sequences} seq | {max(ours):,.0f}, {statistics.median(ours):,.0f} | "
              f"{max(theirs):,.0f}, {statistics.median(theirs):,.0f} ({name}) | {ratio:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="GGUF files (default: SmolLM2 Q4_1 and Gemma 3)")
    parser.add_argument("--kvinfer", default=str(REPO / "build/release/bin/kvinfer"))
    parser.add_argument("--python", help="an interpreter that has llama_cpp, instead of building one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt-len", type=int, default=512)
    parser.add_argument("--gen-len", type=int, default=128)
    parser.add_argument("--sequences-list", type=json.loads, default=[1, 4], help="default: [1,4]")
    for name, kind in (("--sequences", int), ("--prompt", json.loads)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    for name in ("--worker", "--flash-attention"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        args.model = args.models[0]
        print(json.dumps(worker(args)))
    else:
        compare(args)


if __name__ == "__main__":
    main()
