"""The transformer as an ONNX graph, with the inputs and outputs of Optimum's `ORTModelForCausalLM`.

Shapes: B stories, T new tokens, S tokens in the cache, D width, H heads, K head size (D = H * K), F feed-forward width,
V vocabulary. B, T and S may differ in each call; S may be 0.

Inputs: input_ids (B, T), attention_mask (B, S + T) with 0 for padding, position_ids (B, T), and for each layer i
past_key_values.i.key and .value (B, H, S, K). Outputs: logits (B, T, V), present.i.key and .value (B, H, S + T, K).

A token takes one pass over few and small nodes, so that fewer nodes count: query, key and value are one product, and so
are gate and up; queries and keys are normalized and rotated together, and the scale of the scores is in their weights.
"""

import math

import numpy as np
from onnx import ModelProto, TensorProto

from tinylm.export.onnx_builder import Graph
from tinylm.export.source import Source
from tinylm.model.rope import rope_table

HIDDEN = float(np.finfo(np.float32).min)  # score where a query may not attend; -inf would be NaN in rows of padding


def build(source: Source) -> ModelProto:
    """Return the graph of a model, in float32, with its weights."""
    return _Builder(source).build()


class _Builder:
    def __init__(self, source: Source):
        self.p, self.vocab_size, self.weights = source.params, source.vocab_size, source.weights
        self.g = Graph()
        self.head_size = self.p.width // self.p.heads

    def build(self) -> ModelProto:
        g, p = self.g, self.p
        ids = g.input("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
        padding = g.input("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"])
        positions = g.input("position_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
        logits = g.output("logits", ["batch_size", "sequence_length", self.vocab_size])
        x = g.add("Gather", self.weight("embedding"), ids)  # (B, T, D)
        rope = None
        if p.architecture == "gpt2":
            x = g.add("Add", x, g.add("Gather", self.weight("positions"), positions))
        else:
            rope = self.rope(positions)
        mask = self.mask(ids, padding)
        for layer in range(p.layers):
            block = f"blocks.{layer}"
            y = self.attention(f"{block}.attention", layer, self.norm(f"{block}.attention_norm", x), rope, mask)
            x = g.add("Add", x, y)
            y = self.norm(f"{block}.mlp_norm", x)
            y = self.gelu(f"{block}.mlp", y) if p.architecture == "gpt2" else self.swiglu(f"{block}.mlp", y)
            x = g.add("Add", x, y)
        self.head(self.norm("norm", x), logits)
        return g.model("tinylm")

    # ---- inputs

    def rope(self, positions: str) -> tuple[str, str]:
        """Return cosines and signed sines of the rotary angles, (B, 1, T, K) each, for both halves of a head."""
        cos, sin = (table.numpy() for table in rope_table(self.p))  # (context, K / 2)
        tables = {"rope.cos": np.concatenate([cos, cos], 1), "rope.sin": np.concatenate([-sin, sin], 1)}
        axis = self.g.constant("axis_1", [1], np.int64)
        of_tokens = (self.g.add("Gather", self.g.constant(name, table), positions) for name, table in tables.items())
        first, second = (self.g.add("Unsqueeze", table, axis) for table in of_tokens)
        return first, second

    def mask(self, ids: str, padding: str) -> str:
        """Return what is added to the scores, (B, 1, T, S + T): HIDDEN for later tokens and padding, else 0.

        Tokens count from the start of the cache here, padding included, and not by their positions.
        """
        g = self.g
        zero, one = g.constant("0", 0, np.int64), g.constant("1", 1, np.int64)
        total = g.add("Gather", g.add("Shape", padding), one)
        new = g.add("Gather", g.add("Shape", ids), one)
        keys = g.add("Range", zero, total, one)  # (S + T,)
        queries = g.add("Range", g.add("Sub", total, new), total, one)  # (T,)
        queries = g.add("Unsqueeze", queries, g.constant("axis_1", [1], np.int64))  # (T, 1)
        causal = g.add("LessOrEqual", keys, queries)  # (T, S + T)
        real = g.add("Unsqueeze", g.add("Cast", padding, to=TensorProto.BOOL), g.constant("axes_1_2", [1, 2], np.int64))
        seen = g.add("And", real, causal)  # (B, 1, T, S + T)
        return g.add("Where", seen, g.constant("seen", 0.0), g.constant("hidden", HIDDEN))

    # ---- layers: x is (B, T, D)

    def attention(self, name: str, layer: int, x: str, rope: tuple[str, str] | None, mask: str) -> str:
        g, H, K = self.g, self.p.heads, self.head_size
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        scales = [1.0 if self.p.qk_norm else K**-0.5, 1.0, 1.0]
        qkv = self.linear(f"{name}.qkv", x, parts, scales)
        qkv = g.add("Reshape", qkv, g.constant("shape_of_heads", [0, 0, 3 * H, K], np.int64))
        qkv = g.add("Transpose", qkv, perm=[0, 2, 1, 3])  # (B, 3 H, T, K)
        if rope is None:
            q, k, v = g.split(qkv, [H, H, H], 1)
        else:
            qk, v = g.split(qkv, [2 * H, H], 1)
            if self.p.qk_norm:
                qk = self.qk_norm(name, qk)
            first, second = g.split(qk, [K // 2, K // 2], 3)
            swapped = g.add("Concat", second, first, axis=3)
            qk = g.add("Add", g.add("Mul", qk, rope[0]), g.add("Mul", swapped, rope[1]))
            q, k = g.split(qk, [H, H], 1)
        k, v = self.cached(layer, "key", k), self.cached(layer, "value", v)  # (B, H, S + T, K)
        scores = g.add("MatMul", q, g.add("Transpose", k, perm=[0, 1, 3, 2]))
        weights = g.add("Softmax", g.add("Add", scores, mask), axis=-1)  # (B, H, T, S + T)
        y = g.add("Transpose", g.add("MatMul", weights, v), perm=[0, 2, 1, 3])
        y = g.add("Reshape", y, g.constant("shape_of_x", [0, 0, self.p.width], np.int64))
        return self.linear(f"{name}.output", y)

    def qk_norm(self, name: str, qk: str) -> str:
        """Normalize queries and keys (B, 2 H, T, K); each head has the weight of its kind."""
        query, key = (self.array(f"{name}.{part}_norm.weight") for part in ("query", "key"))
        H, K = self.p.heads, self.head_size
        weight = np.concatenate([np.tile(query * K**-0.5, (H, 1, 1)), np.tile(key, (H, 1, 1))])  # (2 H, 1, K)
        return self.rms_norm(qk, self.g.constant(f"{name}.qk_norm", weight))

    def cached(self, layer: int, part: str, new: str) -> str:
        """Append the keys or values of new tokens, (B, H, T, K), to those of the cache."""
        before, after = (
            ["batch_size", self.p.heads, length, self.head_size]
            for length in ("past_sequence_length", "total_sequence_length")
        )
        past = self.g.input(f"past_key_values.{layer}.{part}", TensorProto.FLOAT, before)
        return self.g.add("Concat", past, new, axis=2, result=self.g.output(f"present.{layer}.{part}", after))

    def swiglu(self, name: str, x: str) -> str:
        g, F = self.g, self.p.mlp_width
        gate, up = g.split(self.linear(f"{name}.gate_up", x, [f"{name}.gate", f"{name}.up"]), [F, F], 2)
        gate = g.add("Mul", gate, g.add("Sigmoid", gate))
        return self.linear(f"{name}.down", g.add("Mul", gate, up))

    def gelu(self, name: str, x: str) -> str:
        """GPT-2's layer; x * sigmoid(2 z) is x * (1 + tanh z) / 2."""
        g = self.g
        x = self.linear(f"{name}.up", x)
        a, b = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715
        factor = g.add("Add", g.add("Mul", g.add("Mul", x, x), g.constant("gelu.b", b)), g.constant("gelu.a", a))
        y = g.add("Mul", x, g.add("Sigmoid", g.add("Mul", x, factor)))
        return self.linear(f"{name}.down", y)

    def norm(self, name: str, x: str) -> str:
        if self.p.architecture == "gpt2":
            weight, bias = self.weight(name), self.weight(name, "bias")
            return self.g.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=self.p.norm_eps)
        return self.rms_norm(x, self.weight(name))

    def rms_norm(self, x: str, weight: str) -> str:
        """Written out in the pattern that ONNX Runtime runs as one node."""
        g = self.g
        mean = g.add("ReduceMean", g.add("Pow", x, g.constant("2", 2.0)), axes=[-1], keepdims=1)
        root = g.add("Sqrt", g.add("Add", mean, g.constant("norm_eps", self.p.norm_eps)))
        return g.add("Mul", g.add("Div", x, root), weight)

    def head(self, x: str, logits: str) -> None:
        """Multiply with the output projection; a tied one is the embedding, which is stored once."""
        if self.p.tie_embeddings:
            matrix = self.g.add("Transpose", self.weight("embedding"), perm=[1, 0])
        else:
            matrix = self.g.constant("head.weight", self.array("head.weight").T)
        self.g.add("MatMul", x, matrix, result=logits)

    # ---- weights

    def linear(self, name: str, x: str, parts: list[str] | None = None, scales: list[float] | None = None) -> str:
        """Multiply x with the weights of one layer, or of several side by side, each times its scale."""
        parts = parts or [name]
        scales = scales or [1.0] * len(parts)

        def join(kind: str) -> np.ndarray:
            return np.concatenate(
                [self.array(f"{n}.{kind}") * np.float32(s) for n, s in zip(parts, scales, strict=True)]
            )

        y = self.g.add("MatMul", x, self.g.constant(f"{name}.weight", join("weight").T))
        if f"{parts[0]}.bias" not in self.weights:
            return y
        return self.g.add("Add", y, self.g.constant(f"{name}.bias", join("bias")))

    def weight(self, name: str, kind: str = "weight") -> str:
        return self.g.constant(f"{name}.{kind}", self.array(f"{name}.{kind}"))

    def array(self, name: str) -> np.ndarray:
        return self.weights[name].numpy()
