"""Bundles written by hand: what reads them can be tested where there is no Keras.

`runpy.run_path` brings `write_bundle` to a test: folders of tests are no packages.
"""

import hashlib
import json

import numpy as np
import onnx
from onnx import numpy_helper, parser

from zoo.tokenizers import train_characters

ALPHABET = "abcdefghijklmnopqrstuvwxyz ."

# The next token depends on the token before it, and on how many there are.
DECODE = """
<ir_version: 10, opset_import: ["" : 18]>
decode (int32[b, t] token_ids, float[b, 1] layer_0_count {shift_in})
    => (float[b, t, v] logits, float[b, 1] layer_0_count_out) {{
    zero = Constant <value = int32 {{0}}> ()
    is_pad = Equal(token_ids, zero)
    is_real = Not(is_pad)
    one_each = Cast <to = 1> (is_real)
    axis = Constant <value = int64[1] {{1}}> ()
    tokens = ReduceSum <keepdims = 1> (one_each, axis)
    layer_0_count_out = Add(layer_0_count, tokens)
    last_axis = Constant <value = int64 {{1}}> ()
    so_far = CumSum(one_each, last_axis)
    count = Add(so_far, layer_0_count)
    minus_one = Constant <value = int64[1] {{-1}}> ()
    count_wide = Unsqueeze(count, minus_one)
    slope_part = Mul(count_wide, slope)
    table_part = Gather(table, token_ids)
    {sum}
}}
"""
LANGUAGE_MODEL = DECODE.format(shift_in="", sum="logits = Add(table_part, slope_part)")
TRANSLATION_MODEL = DECODE.format(
    shift_in=", float[b, v] shift",
    sum="""both = Add(table_part, slope_part)
    sources = Shape <start = 0, end = 1> (shift)
    size = Shape <start = 1> (shift)
    by_source = Concat <axis = 0> (sources, minus_one, size)
    grouped = Reshape(both, by_source)
    shift_wide = Unsqueeze(shift, axis)
    shifted = Add(grouped, shift_wide)
    by_row = Shape(both)
    logits = Reshape(shifted, by_row)""",
)
# The source's tokens each shift the logits of every token of the text.
ENCODE = """
<ir_version: 10, opset_import: ["" : 18]>
encode (int32[b, s] source_ids) => (float[b, v] shift_out, float[b, 1] layer_0_count_out) {
    gathered = Gather(table, source_ids)
    axis = Constant <value = int64[1] {1}> ()
    shift_out = ReduceSum <keepdims = 0> (gathered, axis)
    first = Slice(source_ids, start, end, axis)
    as_float = Cast <to = 1> (first)
    layer_0_count_out = Mul(as_float, nothing)
}
"""
# The mean of what each token says.
CLASSIFY = """
<ir_version: 10, opset_import: ["" : 18]>
classify (int32[b, t] token_ids) => (float[b, l] logits) {
    gathered = Gather(table, token_ids)
    axis = Constant <value = int64[1] {1}> ()
    logits = ReduceMean <keepdims = 0> (gathered, axis)
}
"""
LABELS = ["bad", "good", "neither"]


def write_bundle(directory, translates=False, seed=0):
    """Writes a bundle with random logits; returns its directory."""
    directory.mkdir(parents=True)
    tokenizer = train_characters([ALPHABET])
    size = tokenizer.vocabulary_size
    random = np.random.default_rng(seed)
    weights = {
        "table": random.normal(size=(size, size)) * 3,
        "slope": random.normal(size=size) / 5,
    }
    write_graph(directory / "decode.onnx", [LANGUAGE_MODEL, TRANSLATION_MODEL][translates], weights)
    leaf = {"dtype": "float32", "kind": "carried", "initial": 0, "slots": None}
    state = [{"name": "layer_0/count", "shape": [1], **leaf}]
    if translates:
        table = random.normal(size=(size, size)) / 3
        table[0] = 0  # padding
        weights = {"table": table, "nothing": np.zeros((1, 1))}
        weights |= {"start": np.array([0]), "end": np.array([1])}
        write_graph(directory / "encode.onnx", ENCODE, weights)
        state.append({"name": "shift", "shape": [size], **leaf, "kind": "constant"})
    return describe(directory, tokenizer, state=state)


def write_classifier(directory, seed=0):
    """Writes a bundle of a text classifier of at most 50 tokens; returns its directory."""
    directory.mkdir(parents=True)
    tokenizer = train_characters([ALPHABET])
    table = np.random.default_rng(seed).normal(size=(tokenizer.vocabulary_size, len(LABELS))) * 9
    write_graph(directory / "classify.onnx", CLASSIFY, {"table": table})
    graphs = {"classify.onnx": {"inputs": [{"name": "token_ids", "shape": [None, None]}]}}
    return describe(directory, tokenizer, labels=LABELS, max_length=50, graphs=graphs)


def describe(directory, tokenizer, **facts):
    """Writes tokenizer and manifest beside graphs."""
    tokenizer.save(directory / "tokenizer.json")
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.iterdir()}
    data = {"name": "toy", "licence": "CC0-1.0"}
    manifest = {"format_version": 1, "architecture": "Toy", "data": data, "files": files, **facts}
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def write_graph(path, text, weights):
    model = parser.parse_model(text)
    for name, array in weights.items():
        dtype = "int64" if array.dtype.kind == "i" else "float32"
        model.graph.initializer.append(numpy_helper.from_array(array.astype(dtype), name))
    # The parser takes no name with a `/`, ONNX does.
    content = model.SerializeToString()
    for name in ("layer_0_count_out", "layer_0_count"):
        content = content.replace(name.encode(), name.replace("0_", "0/").encode())
    onnx.checker.check_model(onnx.load_from_string(content))
    path.write_bytes(content)
