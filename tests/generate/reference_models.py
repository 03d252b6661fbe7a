"""Builds transformers models in fp32 from GGUF files: each tensor is dequantized and loaded by hand.

GGUF stores two things unlike transformers: the q and k rows of llama are permuted (neighbouring pairs are
rotated there, half-split ones here), and gemma's norm weights have 1 added.
"""

import gguf
import numpy as np
import torch
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig,
                          LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

# GGUF name of a block's tensor -> transformers name
LLAMA_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GEMMA3_BLOCK = LLAMA_BLOCK | {
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
QWEN3_BLOCK = LLAMA_BLOCK | {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
LLAMA_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
GPT2_BLOCK = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
GPT2_TOP = {"token_embd": "transformer.wte", "position_embd": "transformer.wpe",
            "output_norm": "transformer.ln_f", "output": "lm_head"}


def permute_heads(rows, num_heads):
    """The rows of a q or k weight in GGUF's order of llama: (half, pair) -> (pair, half) within each head."""
    half = rows.shape[0] // num_heads // 2
    return rows.reshape(num_heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermute_heads(rows, num_heads):
    """The inverse of permute_heads."""
    half = rows.shape[0] // num_heads // 2
    return rows.reshape(num_heads, half, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


class GgufModel:
    """The metadata and the dequantized tensors of one file."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.fields = {name: field.contents() for name, field in reader.fields.items()}
        self.arch = self.fields["general.architecture"]
        self.tensors = {}
        for t in reader.tensors:
            shape = [int(n) for n in reversed(t.shape)]
            self.tensors[t.name] = gguf.dequantize(t.data, t.tensor_type).reshape(shape).astype(np.float32)

    def __getitem__(self, key):
        return self.fields[f"{self.arch}.{key}"]

    def get(self, key, default):
        return self.fields.get(f"{self.arch}.{key}", default)

    def common_config(self):
        heads = self["attention.head_count"]
        hidden = self["embedding_length"]
        return dict(
            vocab_size=self.tensors["token_embd.weight"].shape[0],
            hidden_size=hidden,
            intermediate_size=self["feed_forward_length"],
            num_hidden_layers=self["block_count"],
            num_attention_heads=heads,
            num_key_value_heads=self.get("attention.head_count_kv", heads),
            max_position_embeddings=self["context_length"],
            rms_norm_eps=self["attention.layer_norm_rms_epsilon"],
            tie_word_embeddings="output.weight" not in self.tensors,
            bos_token_id=None, eos_token_id=None, pad_token_id=None,
            attn_implementation="eager",
        )


def rename(name, top, block, layers):
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, tensor = stem.split(".")
        return f"{layers}.{layer}.{block[tensor]}.{kind}"
    return f"{top[stem]}.{kind}"


def load(model, state):
    """Loads the state strictly; only a head tied to the embedding may be absent."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= {"lm_head.weight"}, missing
    model.tie_weights()
    assert bool(missing) == (model.lm_head.weight is model.get_input_embeddings().weight)
    return model.eval()


def llama(source):
    heads = source["attention.head_count"]
    kv_heads = source.get("attention.head_count_kv", heads)
    head_dim = source.get("attention.key_length", source["embedding_length"] // heads)
    assert source.get("rope.dimension_count", head_dim) == head_dim
    config = LlamaConfig(**source.common_config(), head_dim=head_dim, hidden_act="silu",
                         rope_parameters={"rope_type": "default", "rope_theta": source["rope.freq_base"]})
    state = {}
    for name, value in source.tensors.items():
        if ".attn_q." in name:
            value = unpermute_heads(value, heads)
        elif ".attn_k." in name:
            value = unpermute_heads(value, kv_heads)
        elif name == "rope_freqs.weight":
            continue
        state[rename(name, LLAMA_TOP, LLAMA_BLOCK, "model.layers")] = value
    model = load(LlamaForCausalLM(config), state)
    if "rope_freqs.weight" in source.tensors:  # Llama 3.1: each frequency is divided by its factor
        model.model.rotary_emb.inv_freq /= torch.from_numpy(source.tensors["rope_freqs.weight"])
    return model


def qwen2(source):
    config = Qwen2Config(**source.common_config(), hidden_act="silu", use_sliding_window=False,
                         rope_parameters={"rope_type": "default", "rope_theta": source["rope.freq_base"]})
    state = {rename(name, LLAMA_TOP, LLAMA_BLOCK, "model.layers"): value for name, value in source.tensors.items()}
    return load(Qwen2ForCausalLM(config), state)


def qwen3(source):
    config = Qwen3Config(**source.common_config(), hidden_act="silu", use_sliding_window=False,
                         head_dim=source["attention.key_length"],
                         rope_parameters={"rope_type": "default", "rope_theta": source["rope.freq_base"]})
    state = {rename(name, LLAMA_TOP, QWEN3_BLOCK, "model.layers"): value for name, value in source.tensors.items()}
    return load(Qwen3ForCausalLM(config), state)


def gemma3(source):
    num_layers = source["block_count"]
    head_dim = source["attention.key_length"]
    config = Gemma3TextConfig(
        **source.common_config(),
        head_dim=head_dim,
        query_pre_attn_scalar=head_dim,
        sliding_window=source["attention.sliding_window"],
        layer_types=["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(num_layers)],
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": source["rope.freq_base"]},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        hidden_activation="gelu_pytorch_tanh",
    )
    state = {}
    for name, value in source.tensors.items():
        if name.endswith("norm.weight"):
            value = value - np.float32(1)
        state[rename(name, LLAMA_TOP, GEMMA3_BLOCK, "model.layers")] = value
    return load(Gemma3ForCausalLM(config), state)


def gpt2(source):
    config = GPT2Config(
        vocab_size=source.tensors["token_embd.weight"].shape[0],
        n_positions=source["context_length"],
        n_embd=source["embedding_length"],
        n_inner=source["feed_forward_length"],
        n_layer=source["block_count"],
        n_head=source["attention.head_count"],
        layer_norm_epsilon=source["attention.layer_norm_epsilon"],
        tie_word_embeddings="output.weight" not in source.tensors,
        bos_token_id=None, eos_token_id=None,
        attn_implementation="eager",
    )
    state = {}
    for name, value in source.tensors.items():
        if name.startswith("blk.") and value.ndim == 2:
            value = value.T  # Conv1D is [in, out]
        state[rename(name, GPT2_TOP, GPT2_BLOCK, "transformer.h")] = value
    return load(GPT2LMHeadModel(config), state)


BUILDERS = {"llama": llama, "qwen2": qwen2, "qwen3": qwen3, "gemma3": gemma3, "gpt2": gpt2}


def from_gguf(path):
    """The model in fp32, with eager attention, and the file's metadata."""
    source = GgufModel(path)
    return BUILDERS[source.arch](source), source
