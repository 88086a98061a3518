"""Ways to attend on a CPU, at an encoder's shapes: which share of the machine's own matrix rate each reaches.

    python experiments/benchmarks/attention.py
    python experiments/benchmarks/attention.py --shapes 12x32x96 12x32x512 --batch 16 --rounds 9

A shape is heads x size of a head x tokens. All rows have the same length, or lengths from a half of it up.
Candidates take turns and the median of their rounds counts. `padded` is what the package does; `equal` the
same without a mask, for batches of rows of one length; `flex` is torch's flex attention, compiled; `products`
are two batched products with a softmax in fp32 between, `products half` with one in the products' own type.
The last line is JSON: per shape and way the milliseconds, the share of the matrix rate, and the largest
difference to fp32.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from rerankbench.engine.hardware import cpu_flags, device_name

Way = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def padded(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    lowest = torch.finfo(query.dtype).min
    bias = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, lowest)
    return scaled_dot_product_attention(query, key, value, attn_mask=bias[:, None, None])


def equal(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value)


def products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, kind: Any = torch.float32) -> Tensor:
    lowest = torch.finfo(query.dtype).min
    scores = (query @ key.transpose(2, 3)).mul_(query.shape[-1] ** -0.5)
    scores = scores.masked_fill_(~mask[:, None, None], lowest)
    return torch.softmax(scores, dim=-1, dtype=kind).to(query.dtype) @ value


@cache
def compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def flex(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    def seen(score: Tensor, row: Tensor, head: Tensor, place: Tensor, other: Tensor) -> Tensor:
        return torch.where(mask[row, other], score, float("-inf"))

    found: Tensor = compiled()(query, key, value, score_mod=seen)
    return found


WAYS: dict[str, Way] = {
    "padded": padded,
    "equal": equal,
    "products": products,
    "products half": partial(products, kind=None),
    "flex": flex,
}


def tensors(shape: str, batch: int, kind: torch.dtype, ragged: bool) -> tuple[Tensor, ...]:
    heads, size, width = map(int, shape.split("x"))
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(3, batch, heads, width, size, generator=generator).to(kind)
    low = width // 2 if ragged else width
    lengths = torch.randint(low, width + 1, (batch,), generator=generator)
    return *parts.unbind(), torch.arange(width)[None] < lengths[:, None]


def seconds(step: Callable[[], Any]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def matrix_rate(kind: torch.dtype) -> float:
    left, right = (torch.randn(1024, 1024).to(kind) for _ in range(2))
    return 2 * 1024**3 / median(seconds(lambda: left @ right) for _ in range(15))


def measured(shape: str, arguments: argparse.Namespace, kind: torch.dtype) -> dict[str, Any]:
    inputs = tensors(shape, arguments.batch, kind, arguments.ragged)
    real = inputs[3][:, None, :, None]
    exact = padded(*(one.float() for one in inputs[:3]), inputs[3])
    steps, found = {}, {}
    for name in arguments.ways:
        try:
            own = WAYS[name](*inputs)  # compiles, and fills caches
            found[name] = {"difference": float(((own.float() - exact) * real).abs().max())}
            steps[name] = partial(WAYS[name], *inputs)
        except Exception as error:  # what compilers raise
            found[name] = {"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"}
    rounds = [{name: seconds(step) for name, step in steps.items()} for _ in range(arguments.rounds)]
    heads, size, width = map(int, shape.split("x"))
    work, rate = 4 * arguments.batch * heads * size * width**2, matrix_rate(kind)
    for name in steps:
        taken = median(one[name] for one in rounds)
        found[name] |= {"ms": round(taken * 1e3, 3), "matrix_share": round(work / taken / rate, 3)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="*", default=["12x32x96", "12x32x512", "12x64x512"])
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--precisions", nargs="*", default=["bf16", "fp32"], choices=["bf16", "fp32"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ragged", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    amx = sorted(flag for flag in cpu_flags() if flag.startswith("amx"))
    machine = {"device": device_name("cpu"), "amx": amx, "torch": torch.__version__}
    results: dict[str, Any] = {**machine, "python": platform.python_version()}
    for precision in arguments.precisions:
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        for shape in arguments.shapes:
            results[f"{shape}/{precision}"] = row = measured(shape, arguments, kind)
            print(shape, precision, json.dumps(row), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    with torch.inference_mode():
        main()
