#!/usr/bin/env python3
"""Writes SmolLM2 as Q4_0 and Q8_0 GGUF, from the Q4_1 file in $KVINFER_CACHE, for speed comparisons.

usage: requantize.py [Q4_0|Q8_0]...    (default: both; files that are there are kept)

The embedding stays Q8_0, as in the source. Needs tests/generate/requirements.txt (gguf, numpy).
"""

import os
import pathlib
import sys

import gguf
from gguf import GGMLQuantizationType, GGUFValueType

CACHE = pathlib.Path(os.environ.get("KVINFER_CACHE", pathlib.Path.home() / ".cache/kvinfer"))
SOURCE = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
FILE_TYPES = {"Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0, "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}


def copy_fields(reader, writer, file_type):
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue  # the writer's own
        value = int(file_type) if name == "general.file_type" else field.contents()
        element = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], sub_type=element)


def requantize(type_name):
    target = CACHE / f"SmolLM2-135M-Instruct.{type_name}.gguf"
    if target.exists():
        print(f"{target} is there")
        return
    dtype = GGMLQuantizationType[type_name]
    reader = gguf.GGUFReader(SOURCE)
    part = target.with_suffix(".part")
    writer = gguf.GGUFWriter(part, reader.fields["general.architecture"].contents())
    copy_fields(reader, writer, FILE_TYPES[type_name])
    for tensor in reader.tensors:
        if tensor.tensor_type == GGMLQuantizationType.Q4_1:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, gguf.quantize(values, dtype), raw_dtype=dtype)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(target)
    print(f"wrote {target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or FILE_TYPES:
        requantize(chosen)
