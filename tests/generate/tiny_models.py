#!/usr/bin/env python3
"""Writes tests/models/tiny: small random models of every family, with the logits of transformers in fp32.

A folder <name>/ is a model as transformers saves it: config.json, safetensors, tokenizer.json, goldens.bin.
<name>.gguf is a model as llama.cpp's converter writes it, with <name>.goldens.bin: there the reference runs
on the dequantized weights. The format of the goldens is described in tests/goldens/README.md.

Weights come from numpy's seeded generator and are scaled so that logits are far from uniform and every
norm, bias and position matters; check_sensitivity() proves the latter for what is easily left out.
"""

import copy
import json
import pathlib
import shutil
import struct

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

import prompts
import reference_models
from random_blocks import SCALES, random_blocks
from reference_models import GEMMA3_BLOCK, GPT2_BLOCK, GPT2_TOP, LLAMA_BLOCK, LLAMA_TOP, QWEN3_BLOCK, permute_heads

TINY = pathlib.Path(__file__).resolve().parent.parent / "models" / "tiny"
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
VOCAB = 290  # 256 bytes, merges, and the special tokens at the end
BOS, EOS = VOCAB - 3, VOCAB - 2

LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
PRE_OF_ARCH = {"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2", "gemma3": "llama-bpe", "gpt2": "gpt-2"}

# Configurations as found on model hubs. Sizes are odd on purpose: rows that fill no vector register, more
# than one KV head, a head_dim other than hidden_size / heads, windows and periods shorter than the prompts.
ROPE_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
COMMON = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0,
              bos_token_id=BOS, eos_token_id=EOS, hidden_act="silu", tie_word_embeddings=False)
LLAMA = COMMON | dict(architectures=["LlamaForCausalLM"], model_type="llama")
GEMMA = COMMON | dict(
    architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", hidden_activation="gelu_pytorch_tanh",
    hidden_size=64, intermediate_size=64, num_hidden_layers=7, num_attention_heads=2, num_key_value_heads=1,
    head_dim=32, query_pre_attn_scalar=32, sliding_window=24, rope_theta=1000000.0,
    rope_local_base_freq=10000.0, rms_norm_eps=1e-6, tie_word_embeddings=True, final_logit_softcapping=None,
    attn_logit_softcapping=None, pad_token_id=0)
del GEMMA["hidden_act"]
QWEN2 = COMMON | dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", rope_theta=1000000.0,
                      vocab_size=VOCAB + 6, use_sliding_window=False, sliding_window=16, max_window_layers=1)
QWEN3 = COMMON | dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", head_dim=32, rms_norm_eps=1e-6)
GPT2 = dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", vocab_size=VOCAB, n_positions=160, n_ctx=160,
            n_embd=64, n_layer=2, n_head=4, activation_function="gelu_new", layer_norm_epsilon=1e-5,
            bos_token_id=EOS, eos_token_id=EOS)
FOLDERS = {  # name: (config, dtype, shards)
    "llama": (LLAMA, torch.float32, 1),
    "llama3-rope": (LLAMA | dict(rope_theta=500000.0, rope_scaling=ROPE_LLAMA3, tie_word_embeddings=True,
                                 num_key_value_heads=1), torch.bfloat16, 1),
    "mistral": (COMMON | dict(architectures=["MistralForCausalLM"], model_type="mistral", head_dim=24,
                              sliding_window=20), torch.float16, 1),
    "qwen2": (QWEN2, torch.bfloat16, 3),
    "qwen3": (QWEN3 | dict(rope_theta=None, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
              torch.bfloat16, 1),
    "gemma3": (GEMMA, torch.bfloat16, 1),
    "gemma3-linear": (GEMMA | dict(num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"],
                                   query_pre_attn_scalar=20, rope_scaling={"rope_type": "linear", "factor": 8.0}),
                      torch.float16, 1),
    "gpt2": (GPT2, torch.float16, 2),
}
K_SIZES = dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_key_value_heads=1,
               tie_word_embeddings=True)
GEMMA_MIX = [("token_embd", T.Q8_0), ("attn_q.", T.Q5_0), ("attn_k.", T.Q5_0), ("attn_v.", T.Q8_0),
             ("attn_output", T.Q4_K), ("ffn_down", T.Q6_K), ("", T.Q5_0)]
QWEN_MIX = [("token_embd", T.Q6_K), ("attn_v", T.Q6_K), ("ffn_down", T.Q6_K), ("", T.Q4_K)]
GGUFS = {  # name: (config, a type or (part of the tensor's name, type) pairs of which the first match counts)
    **{f"llama-{t.name.lower()}": (LLAMA, t)
       for t in (T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1)},
    **{f"llama-{t.name.lower()}": (LLAMA | K_SIZES, t) for t in (T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K)},
    "llama3-rope-f16": (FOLDERS["llama3-rope"][0], T.F16),
    "qwen2-q8_0": (QWEN2, T.Q8_0),
    "qwen2-q4_k_m": (QWEN2 | K_SIZES, QWEN_MIX),
    "qwen3-f16": (QWEN3, T.F16),
    "gemma3-q8_0": (GEMMA, T.Q8_0),
    "gemma3-q4_k_m": (GEMMA | dict(hidden_size=64, intermediate_size=256, num_hidden_layers=6,
                                   num_attention_heads=4, head_dim=64, query_pre_attn_scalar=64), GEMMA_MIX),
    "gpt2-f32": (GPT2 | dict(n_embd=48, n_head=3, n_layer=1), T.F32),
    "gpt2-q5_1": (GPT2, T.Q5_1),
}

PROMPT_LENS = (40, 150)
SCORED = (0, 1, 19, 20, 24, 31, 39, 64, 128, 149)  # where a prompt reaches that far


def build_tokenizer(model_type):
    """Byte-level BPE with the pre-tokenizer of the family, special tokens last."""
    tokenizer = Tokenizer(models.BPE())
    if model_type == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = QWEN2_SPLIT if model_type.startswith("qwen") else LLAMA3_SPLIT
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(SPECIAL), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([text for _, text in prompts.smollm2_prompts()], trainer)
    tokenizer.add_special_tokens(SPECIAL)
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


def is_norm(name):
    return "norm" in name or "ln_" in name


def random_parameter(rng, name, shape, tied):
    """A parameter of a transformers model; weights are [out, in] but for GPT-2's Conv1D, [in, out]."""
    noise = rng.standard_normal(shape).astype(np.float32)
    if name.endswith("bias") or is_norm(name):
        return np.float32(0.3) * noise  # norms: around the model's own initial value, 1 or Gemma's 0
    if "embed_tokens" in name or "wte" in name:
        std = 2.5 / np.sqrt(shape[1]) if tied else 1.0
    elif "wpe" in name:
        std = 0.5
    elif "lm_head" in name:
        std = 2.5 / np.sqrt(shape[1])
    else:
        is_conv1d = any(part in name for part in ("c_attn", "c_proj", "c_fc"))
        # Sharper attention would make rounding keys to f16, which engines do, visible in the logits.
        gain = 0.8 if "q_proj" in name or "k_proj" in name else 1.3
        std = gain / np.sqrt(shape[0] if is_conv1d else shape[1])
    return np.float32(std) * noise


def build_model(config_json, seed):
    """A transformers model in fp32 with our random weights."""
    rng = np.random.default_rng(seed)
    fields = copy.deepcopy(config_json)  # transformers writes into rope_scaling
    del fields["architectures"]
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    for name, parameter in model.named_parameters():
        value = torch.from_numpy(random_parameter(rng, name, tuple(parameter.shape), config.tie_word_embeddings))
        if is_norm(name) and name.endswith("weight"):
            parameter.data += value
        else:
            parameter.data = value
    return model.eval()


def prompt_tokens(vocab_size):
    rng = np.random.default_rng(7)
    return [rng.integers(0, vocab_size, n).tolist() for n in PROMPT_LENS]


def write_goldens(path, model):
    """Returns the logits of the long prompt, for checks."""
    with open(path, "wb") as out:
        out.write(b"KVITNY1\0" + struct.pack("<II", model.config.vocab_size, len(PROMPT_LENS)))
        for tokens in prompt_tokens(model.config.vocab_size):
            positions = [p for p in SCORED if p < len(tokens)]
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float().numpy()
            spread = logits.std(axis=-1).mean()
            assert 1 < spread < 10, (path, spread)
            assert not np.allclose(logits[0], logits[-1], atol=0.1)
            out.write(struct.pack("<I", len(tokens)) + np.asarray(tokens, "<i4").tobytes())
            out.write(struct.pack("<I", len(positions)) + np.asarray(positions, "<i4").tobytes())
            out.write(logits[positions].astype("<f4").tobytes())
    return logits


def check_sensitivity(name, config_json, seed, logits):
    """What a wrong reading of config.json would change shows far above the tests' tolerance of 1e-3."""
    wrong = []
    if config_json.get("sliding_window") and config_json.get("use_sliding_window", True):
        wrong.append({"sliding_window": config_json["sliding_window"] + 1})
    if config_json.get("rope_scaling"):
        wrong.append({"rope_scaling": None})
    if config_json.get("rope_theta"):
        wrong.append({"rope_theta": config_json["rope_theta"] * 2})
    if config_json.get("rope_parameters"):
        wrong.append({"rope_parameters": config_json["rope_parameters"] | {"rope_theta": 10000.0}})
    if config_json.get("rope_local_base_freq"):
        wrong.append({"rope_local_base_freq": config_json["rope_local_base_freq"] * 2})
    if config_json.get("query_pre_attn_scalar"):
        wrong.append({"query_pre_attn_scalar": 2 * config_json["query_pre_attn_scalar"]})
    wrong.append({"layer_norm_epsilon": 0.1} if config_json["model_type"] == "gpt2" else {"rms_norm_eps": 0.1})
    for change in wrong:
        model = build_model(config_json | change, seed)
        tokens = prompt_tokens(model.config.vocab_size)[-1]
        other = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].numpy()
        difference = np.abs(other - logits).max() / np.abs(logits).max()
        print(f"  {change}: moves logits by {difference:.3f} of the largest")
        assert difference > 0.01, (name, change)


def write_folder(name, config_json, dtype, num_shards, seed):
    folder = TINY / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config_json = {key: value for key, value in config_json.items() if not key.startswith("rope_theta") or value}
    config_json = config_json | {"torch_dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config_json, indent=2) + "\n")
    build_tokenizer(config_json["model_type"]).save(str(folder / "tokenizer.json"), pretty=False)
    built = build_model(config_json, seed)
    state = {key: value.to(dtype).contiguous() for key, value in built.state_dict().items()}
    if built.config.tie_word_embeddings:
        del state["lm_head.weight"]
    if config_json["model_type"] == "gpt2":  # as on the hub: no prefix, and old mask buffers
        state = {key.removeprefix("transformer."): value for key, value in state.items()}
        for layer in range(config_json["n_layer"]):
            state[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 2, 2, dtype=dtype).tril()
    if num_shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        index = {"metadata": {"total_size": sum(v.nbytes for v in state.values())}, "weight_map": {}}
        for shard in range(num_shards):
            file_name = f"model-{shard + 1:05}-of-{num_shards:05}.safetensors"
            part = dict(list(state.items())[shard::num_shards])
            save_file(part, folder / file_name, metadata={"format": "pt"})
            index["weight_map"] |= {key: file_name for key in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")

    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    logits = write_goldens(folder / "goldens.bin", loaded)
    print(name, f"logits up to {np.abs(logits).max():.1f}")
    if dtype == torch.float32:
        check = logits
    else:
        check = built(input_ids=torch.tensor([prompt_tokens(built.config.vocab_size)[-1]])).logits[0].numpy()
    check_sensitivity(name, config_json, seed, check)


def gguf_tensors(model, config_json):
    """GGUF name -> array in GGUF's arrangement."""
    arch = model_arch(config_json)
    block = {"llama": LLAMA_BLOCK, "qwen2": LLAMA_BLOCK, "qwen3": QWEN3_BLOCK, "gemma3": GEMMA3_BLOCK,
             "gpt2": GPT2_BLOCK}[arch]
    top = {hf: name for name, hf in (GPT2_TOP if arch == "gpt2" else LLAMA_TOP).items()}
    block = {hf: name for name, hf in block.items()}
    layers = "transformer.h." if arch == "gpt2" else "model.layers."
    tensors = {}
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        value = value.numpy()
        stem, kind = name.rsplit(".", 1)
        if stem.startswith(layers):
            layer, stem = stem.removeprefix(layers).split(".", 1)
            target = f"blk.{layer}.{block[stem]}"
        else:
            target = top[stem]
        if arch == "gpt2" and ".c_" in name and value.ndim == 2:
            value = value.T
        if arch == "llama" and target.endswith((".attn_q", ".attn_k")):
            heads = config_json["num_attention_heads" if target.endswith("q") else "num_key_value_heads"]
            value = permute_heads(value, heads)
        if arch == "gemma3" and target.endswith("norm"):
            value = value + np.float32(1)
        tensors[f"{target}.{kind}"] = np.ascontiguousarray(value)
    if "rope_scaling" in config_json:
        plain = AutoConfig.for_model("llama", **{k: v for k, v in config_json.items()
                                                 if k not in ("model_type", "rope_scaling")})
        base = AutoModelForCausalLM.from_config(plain).model.rotary_emb.inv_freq
        tensors["rope_freqs.weight"] = (base / model.model.rotary_emb.inv_freq).numpy().astype(np.float32)
    return tensors


def model_arch(config_json):
    return config_json["model_type"].removesuffix("_text")


def add_hyperparameters(writer, c):
    if c["model_type"] == "gpt2":
        writer.add_context_length(c["n_positions"])
        writer.add_embedding_length(c["n_embd"])
        writer.add_block_count(c["n_layer"])
        writer.add_feed_forward_length(4 * c["n_embd"])
        writer.add_head_count(c["n_head"])
        writer.add_layer_norm_eps(c["layer_norm_epsilon"])
        return
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_rope_freq_base(c["rope_theta"])
    if "head_dim" in c:
        writer.add_key_length(c["head_dim"])
        writer.add_value_length(c["head_dim"])
    if c["model_type"] == "gemma3_text":
        writer.add_sliding_window(c["sliding_window"])
    if c["model_type"] == "llama":
        writer.add_rope_dimension_count(c["hidden_size"] // c["num_attention_heads"])
        writer.add_vocab_size(c["vocab_size"])


def add_tokenizer(writer, c):
    saved = json.loads(build_tokenizer(c["model_type"]).to_str())
    vocab = saved["model"]["vocab"] | {token["content"]: token["id"] for token in saved["added_tokens"]}
    tokens = sorted(vocab, key=vocab.get)
    kinds = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    for padding in range(len(tokens), c["vocab_size"]):
        tokens.append(f"[PAD{padding}]")
        kinds.append(gguf.TokenType.UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_OF_ARCH[model_arch(c)])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in saved["model"]["merges"]])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(False)


def write_gguf(name, config_json, types, seed):
    rng = np.random.default_rng(seed)
    model = build_model(config_json, seed)
    path = TINY / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, model_arch(config_json))
    writer.add_name(name)
    add_hyperparameters(writer, config_json)
    add_tokenizer(writer, config_json)
    for tensor, value in gguf_tensors(model, config_json).items():
        if value.ndim == 1 or tensor.startswith("position_embd"):
            writer.add_tensor(tensor, value.astype(np.float32))
            continue
        dtype = types if isinstance(types, T) else next(t for part, t in types if part in tensor)
        if dtype in SCALES:
            data = random_blocks(rng, *value.shape, dtype, value.std())
        else:
            data = gguf.quantize(value, dtype)
        writer.add_tensor(tensor, data, raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    reference, _ = reference_models.from_gguf(path)
    logits = write_goldens(TINY / f"{name}.goldens.bin", reference)
    own = model(input_ids=torch.tensor([prompt_tokens(model.config.vocab_size)[-1]])).logits[0].numpy()
    difference = np.abs(logits - own).max() / np.abs(own).max()
    print(name, f"logits up to {np.abs(logits).max():.1f}, off the unquantized model by {difference:.5f}")
    if types == T.F32:
        assert difference < 1e-5
    elif types in (T.F16, T.BF16, T.Q8_0):
        assert difference < 0.25  # the arrangement in the file is right, not only self-consistent


if __name__ == "__main__":
    TINY.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        for index, (chosen, (config, dtype, shards)) in enumerate(FOLDERS.items()):
            write_folder(chosen, config, dtype, shards, index)
        for index, (chosen, (config, types)) in enumerate(GGUFS.items()):
            write_gguf(chosen, config, types, 100 + index)
    total = sum(f.stat().st_size for f in TINY.rglob("*") if f.is_file())
    print(f"{TINY}: {total} bytes")
