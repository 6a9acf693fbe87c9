#!/usr/bin/env python3
"""Makes a tiny GGUF model out of a real one: its vocabulary, its first layers, its own quantised weights.

    tiny-model.py MODEL.gguf TINY.gguf [LAYERS]      needs `gguf` from PyPI

What it says is worth nothing; how long it takes and whether two machines read the same from it is what it is for.
"""

import sys

from gguf import GGUFReader, GGUFValueType, GGUFWriter


def main() -> None:
    source, target = sys.argv[1], sys.argv[2]
    n_layers = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        # The writer sets these itself.
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value, kind = field.contents(), field.types[0]
        if name == f"{architecture}.block_count":
            value = n_layers
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, kind, sub_type=inner)
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        if parts[0] == "blk" and int(parts[1]) >= n_layers:
            continue
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
