#!/usr/bin/env python3
"""The command line program: the forms that others build on, its exit codes, bad input and Ctrl-C.

    cli_test.py PROGRAM TEST_DATA
"""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PROGRAM = DATA = None
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def model(name="llama-q4_1.gguf"):
    return str(DATA / "models" / "tiny" / name)


def run(*arguments, stdin=b"", expect=0):
    done = subprocess.run([PROGRAM, *arguments], input=stdin, capture_output=True, check=False)
    assert done.returncode == expect, f"{arguments}: exit {done.returncode}: {done.stderr.decode()}"
    return done


def run_json(*arguments, **options):
    return json.loads(run(*arguments, "--json", **options).stdout)


class Forms(unittest.TestCase):
    def test_run_writes_text_ids_usage_and_timings(self):
        arguments = ("run", "-m", model(), "-p", "once upon", "-n", "12", "--temp", "0", "--ignore-eos")
        made = run_json(*arguments)
        self.assertEqual(list(made), ["text", "tokens", "finish_reason", "usage", "timings"])
        self.assertEqual(len(made["tokens"]), 12)
        self.assertEqual(made["finish_reason"], "length")
        self.assertEqual(set(made["usage"]), {"prompt_tokens", "cached_tokens", "generated_tokens"})
        self.assertEqual(set(made["timings"]), {"ttft_ms", "tpot_ms"})
        self.assertEqual(run_json(*arguments)["tokens"], made["tokens"])
        self.assertEqual(run(*arguments).stdout.decode(), made["text"] + "\n")

    def test_run_without_tokens_reads_the_prompt(self):
        made = run_json("run", "-m", model(), "-p", "once upon", "-n", "0")
        self.assertEqual((made["text"], made["tokens"], made["finish_reason"]), ("", [], "length"))
        self.assertGreater(made["usage"]["prompt_tokens"], 0)
        self.assertEqual(made["usage"]["generated_tokens"], 0)

    def test_a_saved_session_goes_on_and_is_looked_into(self):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "session.kvs")
            options = ("run", "-m", model(), "-n", "6", "--temp", "0", "--ignore-eos")
            first = run_json(*options, "-p", "once upon", "--save", path)
            whole = run_json("run", "-m", model(), "-p", "once upon", "-n", "12", "--temp", "0", "--ignore-eos")
            more = run_json(*options, "--load", path, "-p", "")
            self.assertEqual(first["tokens"] + more["tokens"], whole["tokens"])
            self.assertEqual(more["usage"]["cached_tokens"] + 1, more["usage"]["prompt_tokens"])
            held = more["usage"]["prompt_tokens"]
            info = run_json("snapshot", "inspect", path)
            self.assertEqual((info["tokens"], info["kv_tokens"], info["page_len"]), (held, held - 1, 16))
            self.assertEqual(info["size_bytes"], Path(path).stat().st_size)
            self.assertEqual(info["model_fingerprint"], run_json("inspect", "-m", model())["fingerprint"])
            self.assertIn("model_fingerprint", run("snapshot", "inspect", path).stdout.decode())
            check = run_json("snapshot", "verify", path)
            self.assertEqual((check["whole"], check["reason"], check["kv_tokens"]), (True, "complete", held - 1))
            self.assertIn(b"came", run(*options, "--load", path, "-p", "", "--page-len", "32").stderr)

            Path(path).write_bytes(Path(path).read_bytes()[:-1])
            check = json.loads(run("snapshot", "verify", path, "--json", expect=3).stdout)
            self.assertEqual((check["whole"], check["reason"], check["tokens"]), (False, "truncated", held))
            run("snapshot", "inspect", model(), expect=3)
            run("snapshot", "verify", path + ".none", expect=3)
            run("snapshot", expect=2)
            run(*options, "-p", "once", "--save", folder, expect=2)

    def test_run_reads_files_and_stdin_alike(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"once upon")
            file.flush()
            options = ("run", "-m", model(), "-n", "6", "--temp", "0", "--ignore-eos")
            expected = run_json(*options, "-p", "once upon")["tokens"]
            self.assertEqual(run_json(*options, "-f", file.name)["tokens"], expected)
            self.assertEqual(run_json(*options, stdin=b"once upon")["tokens"], expected)
            self.assertEqual(run_json(*options, "-f", "-", stdin=b"once upon")["tokens"], expected)

    def test_run_stops_before_a_stop_text(self):
        options = ("run", "-m", model(), "-p", "once", "-n", "40", "--temp", "0", "--ignore-eos")
        text = run_json(*options)["text"]
        stop = next(c for c in text if c.isascii() and c.isprintable())
        made = run_json(*options, "--stop", stop)
        self.assertEqual(made["finish_reason"], "stop")
        self.assertEqual(made["text"], text[: text.index(stop)])

    def test_a_stop_text_in_the_very_last_bytes_is_a_stop(self):
        options = ("run", "-m", model("llama-q4_0.gguf"), "-p", "hello", "-n", "2", "--temp", "0")
        text = run_json(*options)["text"]
        self.assertTrue(text.endswith("\ufffd"))  # half a code point, shown once nothing can follow
        made = run_json(*options, "--stop", "\ufffd")
        self.assertEqual((made["text"], made["finish_reason"]), (text[:-1], "stop"))

    def test_logprobs_come_with_each_token(self):
        made = run_json("run", "-m", model(), "-p", "once", "-n", "3", "--temp", "0", "--ignore-eos", "--logprobs", "2")
        self.assertEqual([place["token"] for place in made["logprobs"]], made["tokens"])
        for place in made["logprobs"]:
            self.assertEqual(len(place["top"]), 2)
            self.assertEqual(place["top"][0]["logprob"], place["logprob"])

    def test_a_budget_has_a_unit_and_a_fraction(self):
        options = ("run", "-m", model(), "-p", "once", "-n", "2")
        for size in ("1.5GiB", "0.5g", "512 mb", "65536", "65536B"):
            self.assertEqual(run(*options, "--kv-budget", size).stderr, b"")

    def test_more_than_the_models_context_is_warned_of(self):
        for command in (("run", "-p", "once", "-n", "2", "--max-model-len"), ("plan", "--max-model-len")):
            self.assertEqual(run(*command, "256", "-m", model()).stderr, b"")
            self.assertIn(b"warning: --max-model-len 257 is above", run(*command, "257", "-m", model()).stderr)
        self.assertIn(b"warning: --ctx 257", run("ppl", "-m", model(), "--ctx", "257", stdin=b"a b c").stderr)

    def test_chat_answers_each_line(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(model("llama"), folder, dirs_exist_ok=True)
            (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
            options = ("-m", folder, "-n", "4", "--temp", "0", "--ignore-eos", "--json")
            lines = run("chat", *options, "--system", "be", stdin=b"hi\nyo\n").stdout.splitlines()
            self.assertEqual(len(lines), 2)
            self.assertGreater(json.loads(lines[1])["usage"]["cached_tokens"], 0)
            made = json.loads(run("run", *options, "--chat", "-p", "hi").stdout)
            self.assertEqual(made["usage"]["generated_tokens"], 4)

    def test_tokenize_adds_nothing_and_parses_no_special_tokens(self):
        options = ("tokenize", "-m", model())
        whole = run_json(*options, stdin=b"once upon\na time")["tokens"]
        lines = run(*options, "--json", "--lines", stdin=b"once upon\n\na time\n").stdout.splitlines()
        parts = [json.loads(line)["tokens"] for line in lines]
        self.assertEqual(len(parts), 3)
        self.assertEqual(parts[1], [])
        self.assertEqual(run(*options, stdin=b"once upon\na time").stdout.decode().split(), [str(t) for t in whole])

    def test_plan_states_bytes_without_weights(self):
        plan = run_json("plan", "-m", model(), "--max-model-len", "256", "--sequences", "8")
        self.assertEqual(
            list(plan)[:5], ["weights_bytes", "kv_bytes_per_token", "kv_bytes", "scratch_bytes", "load_peak_bytes"])
        self.assertEqual(plan["kv_bytes_per_token"], 2 * 2 * 2 * 16 * 2)
        self.assertEqual(plan["kv_bytes"], 8 * 256 * plan["kv_bytes_per_token"])
        budget = ("--kv-budget", str(plan["kv_bytes"]), "--max-model-len", "256")
        fits = run_json("plan", "-m", model(), *budget, "--max-num-seqs", "8")
        self.assertEqual((fits["max_sequences"], fits["max_len"], fits["missing_bytes"]), (8, 256, 0))
        self.assertEqual(fits["lower_first"], "nothing")
        tight = run_json("plan", "-m", model(), *budget, "--max-num-seqs", "9")
        self.assertEqual((tight["lower_first"], tight["lower_to"]), ("max_num_seqs", 8))
        self.assertEqual(tight["missing_bytes"], 256 * plan["kv_bytes_per_token"])
        self.assertIn("lower --max-num-seqs to 8", tight["advice"])

    def test_plan_speaks_of_shapes_by_name_and_by_numbers(self):
        plan = run_json("plan", "--shape", "llama-2-7b", "--gpu-memory", "80GiB", "--prefix-len", "1000",
                        "--prefix-users", "1000", "--paused", "3", "--swap-space", "4")
        self.assertEqual(plan["weights_bytes"], 2 * 6738415616)
        self.assertEqual(plan["kv_exceeds_weights_len"], 25706)
        self.assertAlmostEqual(plan["prefix_saved_bytes"] / 2**30, 487.8, delta=0.05)
        self.assertEqual((plan["swap_bytes"], plan["swap_sequences"]), (3 * 2**31, 2))
        by_hand = run_json("plan", "--layers", "32", "--heads", "32", "--embedding", "4096", "--ffn", "11008",
                           "--vocab", "32000", "--gpu-memory", "80GiB")
        for key in ("weights_bytes", "kv_bytes_per_token", "scratch_bytes", "max_sequences"):
            self.assertEqual(by_hand[key], plan[key])
        changed = run_json("plan", "--shape", "llama-2-7b", "--weight-bits", "4", "--kv-cache-dtype", "int8")
        self.assertEqual(changed["weights_bytes"], plan["weights_bytes"] // 4)
        self.assertEqual(changed["kv_bytes_per_token"], plan["kv_bytes_per_token"] * 130 // 256)
        self.assertIs(changed["kv_cache_dtype_runs"], False)
        text = run("plan", "--shape", "llama-3-8b", "--gpu-memory", "80GiB", "--max-model-len", "32768").stdout.decode()
        self.assertIn("weights 14.96 GiB", text)
        self.assertIn("KV 128.00 KiB a token (16 tokens a page, 2.00 MiB)", text)
        self.assertIn("14 sequences of 32768 (28 with --kv-cache-dtype fp8)", text)

    def test_a_preset_that_does_not_fit_is_4_with_the_missing_bytes(self):
        fits = run_json("plan", "--shape", "llama-3-8b", "--gpu-memory", "80GiB", "--preset", "throughput")
        self.assertEqual((fits["sequence_len"], fits["missing_bytes"]), (1024, 0))
        for preset in ("throughput", "long-context", "low-memory"):
            done = run("plan", "--shape", "llama-2-70b", "--gpu-memory", "80GiB", "--preset", preset, expect=4)
            self.assertRegex(done.stderr.decode(), r"EXHAUSTED: .*\(\d+ bytes are missing")

    def test_the_table_of_plans_is_the_documents(self):
        table = run("plan", "--table").stdout.decode()
        self.assertIn("| llama-2-7b | 12.55 GiB | 512.00 KiB | 2.00 GiB, 29 |", table)
        self.assertIn(table, (DATA.parent / "docs" / "cache.md").read_text(encoding="utf-8"))

    def test_score_answers_each_line_with_one_entry_a_next_position(self):
        lines = b'{"tokens":[1,2,3,4]}\n\n{"tokens":[5,6]}\n'
        for exact in ([], ["--exact"]):
            answers = [json.loads(l) for l in run("score", "-m", model(), "--json", *exact, stdin=lines).stdout.splitlines()]
            self.assertEqual([len(a["top1"]) for a in answers], [3, 1])
            self.assertEqual([len(a["logprob"]) for a in answers], [3, 1])
            self.assertTrue(all(p <= 0 for a in answers for p in a["logprob"]))

    def test_ppl_leaves_the_first_token_of_each_window_out(self):
        text = DATA.parent / "LICENSE"
        count = len(run_json("tokenize", "-m", model(), "-f", str(text))["tokens"])
        made = run_json("ppl", "-m", model(), "-f", str(text), "--ctx", "128")
        self.assertEqual(list(made), ["perplexity", "tokens"])
        full, rest = divmod(count, 128)
        self.assertEqual(made["tokens"], full * 127 + max(rest - 1, 0))
        self.assertGreater(made["perplexity"], 1)

    def test_bench_reports_prefill_and_decode_for_each_count(self):
        results = run_json("bench", "-m", model(), "--prompt-len", "32", "--gen-len", "8", "--sequences", "1,4",
                           "--threads", "2", "--repeats", "1")["results"]
        self.assertEqual([(r["name"], r["sequences"]) for r in results],
                         [("prefill", 1), ("decode", 1), ("prefill", 4), ("decode", 4)])
        for result in results:
            self.assertEqual(list(result), ["name", "sequences", "prompt_len", "gen_len", "tokens_per_s"])
            self.assertGreater(result["tokens_per_s"], 0)

    def scenario(self, name, *options, file="llama-q4_1.gguf"):
        results = run_json("bench", "-m", model(file), "--scenario", name, *options)["results"]
        table = run("bench", "-m", model(file), "--scenario", name, *options).stdout.decode()
        for result in results:
            self.assertIn(result["name"], table)
        return results

    def test_bench_memory_allocates_pages_against_reservations(self):
        for file, shape in (("llama-q4_1.gguf", "gemma-3-270m"), ("gemma3-q8_0.gguf", "model")):
            results = self.scenario("memory", file=file)
            of = {}
            for result in results:
                self.assertEqual(list(result)[:3], ["name", "context", "value"])
                of.setdefault(result["name"], []).append(result)
            self.assertEqual(set(of), {"waste_percent", "sequences_vs_contiguous", "hybrid_saved_percent",
                                       "sequences_vs_contiguous_shared_prefix"})
            kib = [r["page_bytes"] / 1024 for r in of["waste_percent"]]
            self.assertEqual(kib[1:], [360, 1040, 2304, 5120])
            self.assertEqual(of["waste_percent"][0]["page_bytes"], run_json("plan", "-m", model(file))["kv_bytes_per_page"])
            for result in of["waste_percent"]:  # the hybrid's window is few pages long, each with a part of its end
                limit = 10 if (result["shape"], shape) == ("model", "model") else 3
                self.assertTrue(0 < result["value"] < limit, result)
            self.assertGreaterEqual(of["sequences_vs_contiguous"][0]["value"], 4.33)
            self.assertGreaterEqual(of["sequences_vs_contiguous_shared_prefix"][0]["value"], 10)
            saved = of["hybrid_saved_percent"]
            self.assertEqual([(r["context"], r["shape"]) for r in saved], [(c, shape) for c in (4096, 16384, 65536)])
            if shape == "gemma-3-270m":
                for result, least in zip(saved, (71, 80, 82)):
                    self.assertGreaterEqual(result["value"], least)

    def test_bench_prefix_compares_equal_answers(self):
        least = {"system_prompt": 99, "document_qa": 95, "few_shot": 80, "code_completion": 90}
        for file in ("llama-q4_1.gguf", "gemma3-q8_0.gguf"):
            results = run_json("bench", "-m", model(file), "--scenario", "prefix", "--repeats", "1")["results"]
            self.assertEqual([r["name"] for r in results], [*least, "multi_turn"])
            for result in results:
                self.assertEqual(list(result)[:6], ["name", "prefix_tokens", "requests", "memory_saved_percent",
                                                    "ttft_reduction_percent", "latency_reduction_percent"])
                self.assertEqual(result["requests_timed"], 1)
                self.assertLess(result["ttft_reduction_percent"], 100)
                if file.startswith("llama"):  # hybrids hold windows of their own
                    self.assertGreaterEqual(result["memory_saved_percent"], least.get(result["name"], 70))

    def test_bench_swap_resumes_and_loses_no_request(self):
        results = {r["name"]: r for r in self.scenario("swap", "--repeats", "1")}
        self.assertEqual(list(results), ["resume_vs_recompute", "resume_disk_vs_recompute",
                                         "oversubscribed_throughput_percent"])
        for result in results.values():
            self.assertGreater(result["value"], 0)
        crowd = results["oversubscribed_throughput_percent"]
        self.assertEqual((crowd["requests"], crowd["lost"]), (16, 0))

    def test_bench_cache_ops_says_time_and_bytes(self):
        results = {(r["name"], r["context"]): r for r in self.scenario("cache-ops")}
        self.assertEqual({name for name, _ in results},
                         {"allocate", "append", "lookup", "lookup_100k", "fork", "evict", "resize", "swap", "swap_in",
                          "scheduler_step"})
        for result in results.values():
            self.assertEqual(list(result), ["name", "context", "count", "median_us", "p99_us", "bytes"])
            self.assertGreater(result["count"], 0)
            self.assertTrue(0 < result["median_us"] <= result["p99_us"], result)
        bytes_of = {name: r["bytes"] for (name, _), r in results.items()}
        token_bytes = run_json("plan", "-m", model())["kv_bytes_per_token"]
        self.assertEqual(bytes_of["allocate"], 256 * token_bytes)
        self.assertEqual((bytes_of["swap"], bytes_of["swap_in"]), (-256 * token_bytes, 256 * token_bytes))
        self.assertEqual((bytes_of["lookup"], bytes_of["fork"]), (0, 0))
        self.assertLess(bytes_of["evict"], 0)

    def test_bench_grid_says_what_is_measured(self):
        options = ("--prompt-len", "40,80", "--sequences", "1,2", "--gen-len", "4", "--max-model-len", "256",
                   "--kv-budget", "64MiB")
        for file, own in (("llama-q4_1.gguf", "paged"), ("gemma3-q8_0.gguf", "hybrid")):
            results = self.scenario("grid", *options, file=file)
            self.assertEqual([(r["name"], r["prompt_len"], r["sequences"]) for r in results],
                             [(name, length, count) for length in (40, 80) for count in (1, 2)
                              for name in ("contiguous", "paged", "window", "hybrid")])
            plan = run_json("plan", "-m", model(file))
            budget = 64 << 20
            for result in results:
                measured = result["name"] == own
                self.assertEqual(result["kv_bytes_from"], "measured" if measured else "allocated")
                self.assertEqual(result["runs"], measured)
                self.assertEqual(result["budget_bytes"], budget)
                for rate in ("prefill_tokens_per_s", "decode_tokens_per_s"):
                    self.assertEqual(result[rate] is not None, measured)
                count, length = result["sequences"], result["prompt_len"] + 4
                self.assertAlmostEqual(result["bytes_per_token"], result["kv_bytes"] / (count * length))
                each, fit = result["kv_bytes"] // count, result["sequences_in_budget"]
                if result["name"] == "contiguous":
                    self.assertEqual(each, 256 * plan["kv_bytes_per_token"])
                    self.assertEqual(fit, budget // each)
                else:  # but for what one prefill holds besides, and ends of granules
                    self.assertTrue(budget * 0.8 < fit * each <= budget, result)
                if result["name"] == "paged":
                    self.assertEqual(each, -(-length // 16) * plan["kv_bytes_per_page"])
            of = {(r["name"], r["prompt_len"], r["sequences"]): r["kv_bytes"] for r in results}
            for length in (40, 80):
                for count in (1, 2):
                    least, most = of["window", length, count], of["paged", length, count]
                    self.assertTrue(least <= of["hybrid", length, count] <= most)

    def test_simulate_replays_a_trace(self):
        trace = str(DATA / "sim" / "four_requests.jsonl")
        made = run_json("simulate", "--trace", trace, "--policy", "lru", "--budget-blocks", "7")
        self.assertEqual(list(made), ["hit_rate", "requests", "preemptions", "waste_percent"])
        self.assertEqual((made["requests"], made["preemptions"], made["waste_percent"]), (4, 0, 0))
        self.assertAlmostEqual(made["hit_rate"], 0.4478, places=3)
        self.assertIn("requests     4", run("simulate", "--trace", trace).stdout.decode())

    def test_inspect_describes_the_file(self):
        made = run_json("inspect", "-m", model())
        self.assertEqual((made["architecture"], made["supported"]), ("llama", True))
        self.assertEqual(made["metadata"]["llama.block_count"], 2)
        self.assertIn("llama", run("inspect", "-m", model()).stdout.decode())


class Failures(unittest.TestCase):
    def fails(self, code, word, *arguments, stdin=b"", stdout=b""):
        done = run(*arguments, stdin=stdin, expect=code)
        message = done.stderr.decode()
        self.assertIn(word, message)
        self.assertNotIn("\033", message)  # no colour where stderr is no terminal
        self.assertEqual(done.stdout, stdout)

    def test_a_wrong_command_line_is_2(self):
        self.fails(2, "--help")
        self.fails(2, "a command is missing; the commands are run, chat, inspect")
        self.fails(2, "there is no command fly; the commands are run, chat, inspect", "fly", "-m", model())
        self.fails(2, "a command is missing", "-m", model())
        self.fails(2, "--model", "run", "-p", "x")
        self.fails(2, "--help", "run", "-m", model(), "-p", "x", "-n", "many")
        self.fails(2, "--help", "run", "-m", model(), "-p", "x", "-n", "-1")

    def test_an_option_without_effect_is_refused(self):
        for command, *option in (("ppl", "--max-model-len", "64"),
                                 ("inspect", "-t", "1"), ("tokenize", "-t", "1"), ("score", "--logprobs", "1")):
            self.fails(2, option[0], command, "-m", model(), *option)
            self.assertNotIn(option[0], run(command, "--help").stdout.decode())
        self.fails(2, "--json", "run", "-m", model(), "-p", "x", "--logprobs", "1")

    def test_a_bad_value_is_2_and_named(self):
        for option, value in (("--temp", "-1"), ("--temp", "nan"), ("--top-p", "0"), ("--min-p", "2"),
                              ("--repeat-penalty", "0"), ("--page-len", "17"), ("--threads", "0"),
                              ("--logprobs", "65"), ("--seed", "-1"), ("--max-model-len", "4000000000"),
                              ("--kv-budget", "-1"), ("--kv-budget", "0"), ("--kv-budget", "nan"),
                              ("--kv-budget", "1XiB"), ("--kv-budget", "1e30")):
            self.fails(2, option, "run", "-m", model(), "-p", "x", "--json", option, value)
        self.fails(2, "INVALID_ARGUMENT", "run", "-m", model(), "-p", "")
        self.fails(2, "INVALID_ARGUMENT", "tokenize", "-m", model(), stdin=b"ab\xff")
        self.fails(2, "line 2", "tokenize", "-m", model(), "--lines", stdin=b"\nab\xff\n", stdout=b"\n")
        self.fails(2, "line 1", "score", "-m", model(), "--json", stdin=b"nonsense\n")
        for value in ("1.5", "true", '"1"', "null", "-1", "99999", "3000000000", "4294967298", "1e400"):
            line = b'\n{"tokens":[1,%s]}\n' % value.encode()
            self.fails(2, "line 2", "score", "-m", model(), "--json", stdin=line)
            if value != "1e400":  # the parser's own limit: no such number
                self.fails(2, value, "score", "-m", model(), "--json", stdin=line)
        for line in (b'{"tokens":1}', b'{"tokens":"ab"}', b'{"tokens":{"a":1}}', b'[1,2]'):
            self.fails(2, "line 1", "score", "-m", model(), "--json", stdin=line)
        for option, value in (("--prompt-len", "0"), ("--prompt-len", "4000000000"), ("--gen-len", "1"),
                              ("--sequences", "0"), ("--repeats", "0"), ("--max-model-len", "10")):
            self.fails(2, option, "bench", "-m", model(), option, value)
        self.fails(2, "--scenario", "bench", "-m", model(), "--scenario", "speed")
        for option, value in (("--policy", "fifo"), ("--budget-blocks", "-1"), ("--budget-blocks", "many")):
            self.fails(2, option, "simulate", "--trace", "x", option, value)
        self.fails(2, "--ctx", "ppl", "-m", model(), "--ctx", "1", stdin=b"a b c")
        for option, value in (("--gpu-memory", "0"), ("--gpu-memory", "-1"), ("--gpu-memory", "9223372036854775808"),
                              ("--swap-space", "-1"),
                              ("--gpu-memory-utilization", "nan"), ("--gpu-memory-utilization", "0"),
                              ("--gpu-memory-utilization", "-0.5"), ("--gpu-memory-utilization", "1.5"),
                              ("--max-num-seqs", "-1"), ("--max-num-seqs", "0"), ("--max-num-seqs", "1000000000"),
                              ("--max-model-len", "0"), ("--max-num-batched-tokens", "0"), ("--block-size", "17"),
                              ("--kv-cache-dtype", "fp9"), ("--paused", "-1"), ("--prefix-len", "4294967295"),
                              ("--preset", "fast"), ("--shape", "llama-9")):
            shape = () if option == "--shape" else ("--shape", "llama-3-8b")
            self.fails(2, option, "plan", *shape, "--json", option, value)
        for option, value, field in (("--layers", "0", "num_layers"), ("--layers", "1000000000", "num_layers"),
                                     ("--layers", "-1", "--layers"), ("--kv-heads", "33", "num_kv_heads"),
                                     ("--weight-bits", "nan", "weight_bits"), ("--window-layers", "33", "window")):
            self.fails(2, field, "plan", "--shape", "llama-3-8b", option, value)
        self.fails(2, "--model, --shape or --layers", "plan")
        self.fails(2, "--shape", "plan", "-m", model(), "--shape", "llama-3-8b")
        self.fails(2, "--layers", "plan", "-m", model(), "--layers", "1")

    def test_a_missing_or_broken_file_is_3(self):
        self.fails(3, "NOT_FOUND", "inspect", "-m", "/no/such/model.gguf")
        for command in ("run", "tokenize", "score", "ppl"):
            for file, reason in (("/no/such/file", "No such file or directory"), ("/", "Is a directory")):
                self.fails(3, f"cannot read the file {file}: {reason}", command, "-m", model(), "-f", file)
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(Path(model()).read_bytes()[:1000])
            file.flush()
            self.fails(3, "CORRUPT", "inspect", "-m", file.name)
        self.fails(3, "UNSUPPORTED", "run", "-m", model(), "--chat", "-p", "hi")
        self.fails(3, "/no/such/trace", "simulate", "--trace", "/no/such/trace")

    def test_a_missing_core_program_is_3(self):
        with tempfile.TemporaryDirectory() as folder:
            alone = shutil.copy(PROGRAM, folder)
            library = Path(PROGRAM).parent.parent / "lib"
            done = subprocess.run([alone, "simulate", "--trace", "x"], capture_output=True, check=False,
                                  env={**os.environ, "LD_LIBRARY_PATH": str(library)})
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn(b"kvi_sim", done.stderr)

    def test_exhaustion_is_4(self):
        self.fails(4, "CONTEXT_FULL", "run", "-m", model(), "-p", "x" * 5000)
        self.fails(4, "raise --kv-budget", "run", "-m", model(), "-p", "x", "--kv-budget", "1")

    def test_text_before_an_exhaustion_is_kept(self):
        options = ("run", "-m", model(), "-p", "once upon", "-n", "100", "--temp", "0", "--ignore-eos",
                   "--kv-budget", "8KiB")
        done = run(*options, "--json", "--logprobs", "0", expect=4)
        self.assertIn(b"--kv-budget", done.stderr)
        made = json.loads(done.stdout)
        self.assertEqual(made["finish_reason"], "error")
        self.assertGreater(len(made["tokens"]), 0)
        self.assertEqual(len(made["logprobs"]), len(made["tokens"]))
        self.fails(4, "EXHAUSTED", *options, stdout=made["text"].encode() + b"\n")

    def test_unwritable_output_is_1(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "inspect", "-m", model()], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)

    def test_help_and_version_are_0(self):
        self.assertIn(b"Exit codes", run("--help").stdout)
        self.assertTrue(run("--version").stdout.startswith(b"kvinfer 0."))
        for command in ("run", "chat", "inspect", "tokenize", "plan", "score", "ppl", "bench", "simulate"):
            self.assertIn(b"--json", run(command, "--help").stdout)


class Terminal(unittest.TestCase):
    def test_no_color_is_obeyed(self):
        for variable, coloured in (("", True), ("1", False)):
            main, other = pty.openpty()
            environment = {**os.environ, "NO_COLOR": variable}
            with subprocess.Popen([PROGRAM, "inspect", "-m", "/none"], stderr=other, env=environment) as process:
                process.wait()
            os.close(other)
            message = os.read(main, 4096)
            os.close(main)
            self.assertEqual(b"\033[31m" in message, coloured)

    def interrupt(self, *arguments):
        """Sends Ctrl-C once the command waits for what never comes, or runs."""
        with subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            while process.poll() is None:
                status = Path(f"/proc/{process.pid}/status").read_text()
                if "\nThreads:\t1\n" not in status:  # the one that receives signals has started
                    process.send_signal(signal.SIGINT)
                    process.wait()  # before communicate() ends its stdin
                    break
                time.sleep(0.01)
            output, _ = process.communicate()
            return process.returncode, output

    def test_ctrl_c_while_reading_exits_with_130(self):
        code, _ = self.interrupt("tokenize", "-m", model())
        self.assertEqual(code, 130)

    def test_ctrl_c_ends_a_generation_and_keeps_its_text(self):
        real = Path(os.environ.get("KVINFER_CACHE", Path.home() / ".cache/kvinfer")) / "SmolLM2-135M-Instruct.Q4_1.gguf"
        if not real.exists():
            self.skipTest(f"{real} is missing (tests/fetch_models.sh smollm2)")
        with subprocess.Popen([PROGRAM, "run", "-m", str(real), "-p", "Once", "-n", "4000", "--ignore-eos"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            first = process.stdout.read(4)  # text has begun
            process.send_signal(signal.SIGINT)
            rest, message = process.communicate()
        self.assertEqual(process.returncode, 130)
        self.assertEqual(len(first), 4)
        self.assertTrue(rest.endswith(b"\n"))
        self.assertIn(b"interrupted", message)


if __name__ == "__main__":
    PROGRAM, DATA = sys.argv[1], Path(sys.argv[2]).resolve()
    unittest.main(argv=sys.argv[:1])
