"""Writes checkpoint folders in the layouts that BitNet b1.58 2B4T is published in.

    packed   u8, four rows a quarter of the matrix apart in a byte, and weight_scale to multiply by
    masters  bf16 weights, quantised by whoever reads them (absmean)

Used by export.py. Beside model.safetensors lie config.json, tokenizer.json (which adds BOS),
tokenizer_config.json with the chat template, and generation_config.json. The embedding is f16 and
the norms are f32, as in the GGUF file of the same model, so all three give the same logits.
"""
import json

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, processors

import tokenizer as tok

NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_sub_norm": "self_attn.attn_sub_norm", "ffn_sub_norm": "mlp.ffn_sub_norm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
MODES = {"packed": "offline", "masters": "online"}


def hf_name(key):
    """Name of a parameter of model.BitNet in a checkpoint folder, without `.weight`."""
    if key == "token_embd":
        return "model.embed_tokens"
    if key == "output_norm":
        return "model.norm"
    _, layer, name = key.split(".")
    return f"model.layers.{layer}.{NAMES[name]}"


def pack(t):
    """[n_out, k] in {-1, 0, 1} -> [n_out/4, k] u8; row r + i * n_out/4 has bits 2i and 2i + 1."""
    quarters = (t + 1).to(torch.uint8).view(4, -1, t.shape[1])
    return quarters[0] | quarters[1] << 2 | quarters[2] << 4 | quarters[3] << 6


def tensors(weights, codes, layout):
    """{name: tensor} of the folder; codes: {key: (T, scale)} of the projections."""
    out = {}
    for key, w in weights.items():
        name = hf_name(key)
        if key == "token_embd":
            out[f"{name}.weight"] = w.half()
        elif key not in codes:
            out[f"{name}.weight"] = w.float()
        elif layout == "masters":
            out[f"{name}.weight"] = w.bfloat16()
        else:
            t, scale = codes[key]
            out[f"{name}.weight"] = pack(t)
            out[f"{name}.weight_scale"] = scale.reshape(1)
    return out


def model_config(c, bos, eos, layout):
    return {
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_size": c.d,
        "intermediate_size": c.f, "num_hidden_layers": c.n_layer, "num_attention_heads": c.h,
        "num_key_value_heads": c.kv, "head_dim": c.hd, "hidden_act": "relu2",
        "max_position_embeddings": c.n_ctx, "rms_norm_eps": c.eps, "rope_theta": c.rope_base,
        "vocab_size": c.n_vocab, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "bos_token_id": bos, "eos_token_id": eos,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                "quantization_mode": MODES[layout]},
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_tokenizer(folder, path):
    """tokenizer.json of the corpus with BOS in front of every text; ids of BOS, EOS and EOT."""
    tokenizer = Tokenizer.from_file(str(path))
    bos, eos, eot = (tokenizer.token_to_id(s) for s in tok.SPECIALS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{tok.BOS} $A", special_tokens=[(tok.BOS, bos)])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json",
               {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": tok.BOS,
                "eos_token": tok.EOS, "chat_template": tok.CHAT_TEMPLATE})
    return bos, eos, eot


def write_folder(folder, config, weights, codes, tokenizer_path, layout):
    """The checkpoint folder of a model in one of the two layouts."""
    folder.mkdir(parents=True, exist_ok=True)
    bos, eos, eot = write_tokenizer(folder, tokenizer_path)
    write_json(folder / "config.json", model_config(config, bos, eos, layout))
    write_json(folder / "generation_config.json",
               {"bos_token_id": bos, "eos_token_id": [eos, eot]})
    save_file(tensors(weights, codes, layout), folder / "model.safetensors", {"format": "pt"})
