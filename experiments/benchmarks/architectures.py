"""Speed of the six rerankers' real architectures with random weights: our loop against FlagEmbedding's own.

    python experiments/benchmarks/architectures.py base large v2-m3 gemma minicpm-layerwise lightweight
    python experiments/benchmarks/architectures.py --suite    # all of them once, for a GPU that is lent

Needs no download: weights are drawn on the device from a seed, texts are words of a made-up vocabulary with
the lengths of real passages. Every architecture is built once and shared by both loops, so the scores can
be compared too. The last line is JSON: per architecture and precision the pairs/s of both, their ratio, the
share of the device's own measured matrix rate, peak memory, and how far the scores are apart; the median
milliseconds of a single query by depth, and what happens once: seconds to load (weights are drawn, not read)
and what the first round took longer. ModernBERT and Qwen3-0.6B have no peer in FlagEmbedding.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[2] / folder) for folder in ("src", "tests/helpers")]

from flagembedding_oracle import leave_as_it_is, quiet, repair_layerwise, repair_lightweight
from rerankbench.engine.hardware import Hardware, peak_memory_mb, reset_peak_memory
from rerankbench.engine.loop import Budget, Loop, ahead
from rerankbench.engine.models.references import Weights
from rerankbench.engine.operators.packing import PackedLinear
from rerankbench.rerankers.causal import Causal
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.layerwise import Layerwise
from rerankbench.rerankers.lightweight import Lightweight
from rerankbench.rerankers.llm import LLM
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scoring.pair_scoring import window_size
from rerankbench.rerankers.scoring.pair_window import PairWindow

WORDS = 20_000
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def xlmr(hidden: int, layers: int, heads: int, positions: int) -> Any:
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    config = XLMRobertaConfig(
        vocab_size=250_002, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, max_position_embeddings=positions, type_vocab_size=1, num_labels=1,
        pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    return XLMRobertaForSequenceClassification, config


def gemma(hidden: int = 2048, layers: int = 18) -> Any:
    """Gemma 2B, or a smaller one with its proportions and its whole vocabulary."""
    from transformers import GemmaConfig, GemmaForCausalLM

    return GemmaForCausalLM, GemmaConfig(
        vocab_size=256_000, hidden_size=hidden, intermediate_size=8 * hidden, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=1, head_dim=256,
        pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip


def minicpm() -> Any:
    from FlagEmbedding.inference.reranker.decoder_only.models import modeling_minicpm_reranker as m

    return m.LayerWiseMiniCPMForCausalLM, m.LayerWiseMiniCPMConfig(
        vocab_size=122_753, hidden_size=2304, intermediate_size=5760, num_hidden_layers=40,
        num_attention_heads=36, num_key_value_heads=36, max_position_embeddings=2048, scale_emb=12,
        dim_model_base=256, scale_depth=1.4, start_layer=8, head_multi=True, head_type="simple",
        pad_token_id=1, bos_token_id=0, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip


def gemma2() -> Any:
    from FlagEmbedding.inference.reranker.decoder_only.models import gemma_model as m

    return m.CostWiseGemmaForCausalLM, m.CostWiseGemmaConfig(
        start_layer=8, layer_sep=1, layer_wise=True, vocab_size=256_000, hidden_size=3584,
        intermediate_size=14_336, num_hidden_layers=42, num_attention_heads=16, num_key_value_heads=8,
        head_dim=256, query_pre_attn_scalar=256, sliding_window=4096, final_logit_softcapping=30.0,
        attn_logit_softcapping=50.0, tie_word_embeddings=False,
        pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip


def modernbert() -> Any:
    """gte-reranker-modernbert-base."""
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    return ModernBertForSequenceClassification, ModernBertConfig(
        vocab_size=50_368, hidden_size=768, intermediate_size=1152, num_hidden_layers=22,
        num_attention_heads=12, max_position_embeddings=8192, classifier_pooling="mean", num_labels=1,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2,
    )  # fmt: skip


def qwen3() -> Any:
    """Qwen3-Reranker-0.6B."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM, Qwen3Config(
        vocab_size=151_669, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, max_position_embeddings=40_960,
        tie_word_embeddings=True, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip


# name: (the FlagEmbedding class, our settings, the architecture)
ARCHITECTURES: dict[str, tuple[str | None, type[Reranker], Callable[[], Any]]] = {
    "base": ("FlagReranker", Encoder, lambda: xlmr(768, 12, 12, 514)),
    "large": ("FlagReranker", Encoder, lambda: xlmr(1024, 24, 16, 514)),
    "v2-m3": ("FlagReranker", Encoder, lambda: xlmr(1024, 24, 16, 8194)),
    "gemma": ("FlagLLMReranker", LLM, gemma),
    "gemma-proportions": ("FlagLLMReranker", LLM, lambda: gemma(hidden=512, layers=4)),
    "minicpm-layerwise": ("LayerWiseFlagLLMReranker", Layerwise, minicpm),
    "lightweight": ("LightWeightFlagLLMReranker", Lightweight, gemma2),
    "modernbert": (None, Encoder, modernbert),
    "qwen3-0.6b": (None, Causal, qwen3),
}
# Of the made-up vocabulary, in place of the prompts that real models were trained with.
OPTIONS: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {"template": ["A: {query} B: {document} </s>"], "yes": "Yes", "no": "A:"}
}
SUITE = ("base", "large", "v2-m3", "gemma", "minicpm-layerwise", "lightweight", "modernbert", "qwen3-0.6b")
LONG = 500  # words that, with a query, fill 512 tokens


# So many pairs take FlagEmbedding some seconds on an H100.
PAIRS = {
    "base": 8192, "large": 4096, "v2-m3": 4096, "gemma": 1024, "gemma-proportions": 1024,
    "minicpm-layerwise": 1024, "lightweight": 384, "modernbert": 4096, "qwen3-0.6b": 1024,
}  # fmt: skip

REPAIRS = {"LayerWiseFlagLLMReranker": repair_layerwise, "LightWeightFlagLLMReranker": repair_lightweight}


def write_tokenizer(folder: Path) -> None:
    """A tokenizer with one token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "Yes": 4, "A:": 5, "B:": 6}
    vocabulary |= {f"w{n}": 7 + n for n in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    special |= {"cls_token": "<s>", "sep_token": "</s>"}
    names = ["input_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=8192, model_input_names=names, **special
    )
    fast.save_pretrained(folder)


def make_pairs(count: int, words: int | None, seed: int, a_query: int = 1) -> list[tuple[str, str]]:
    """Pairs of a short query and a passage, `a_query` passages a query.

    Passages have `words` words, or are as long as MS MARCO's.
    """
    random = np.random.default_rng(seed)
    lengths = (
        np.full(count, words) if words else np.clip(random.lognormal(4.3, 0.5, count), 10, 480).astype(int)
    )

    def text(length: int) -> str:
        return " ".join(f"w{n}" for n in random.integers(0, WORDS, length))

    queries = [text(int(random.integers(4, 12))) for _ in range(-(-count // a_query))]
    return [(queries[number // a_query], text(int(length))) for number, length in enumerate(lengths)]


@contextmanager
def random_weights(build: Callable[[], Any], device: str, seed: int) -> Iterator[None]:
    """Every `from_pretrained` of a model gives the architecture with weights drawn on `device`."""
    from transformers import PreTrainedModel

    from rerankbench.engine.models import loading

    architecture, config = build()

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        dtype = kwargs.get("dtype") or kwargs.get("torch_dtype") or torch.float32
        torch.manual_seed(seed)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            config._attn_implementation = kwargs.get("attn_implementation", "sdpa")
            with torch.device(device):
                model = architecture(config).eval()
            told = {"missing_keys": [], "unexpected_keys": []}
            return (model, told) if kwargs.get("output_loading_info") else model
        finally:
            torch.set_default_dtype(before)

    no_files = patch.object(loading, "shape_problem", lambda *_: "")  # whose shapes could be compared
    with no_files, patch.object(PreTrainedModel, "from_pretrained", classmethod(from_pretrained)):
        config.save_pretrained(FOLDER)
        yield


class Timed:
    """Pairs per second of the best of `rounds` calls, the scores, and the peak memory in GB."""

    def __init__(self, device: str, pairs: int, rounds: int, step: Callable[[], np.ndarray]) -> None:
        hardware = Hardware(device, "fp32")
        started = time.perf_counter()
        step()
        hardware.synchronize()
        first = time.perf_counter() - started
        reset_peak_memory(hardware)
        seconds = []
        for _ in range(rounds):
            hardware.synchronize()
            started = time.perf_counter()
            self.scores = step()
            hardware.synchronize()
            seconds.append(time.perf_counter() - started)
        self.rate = pairs / float(np.median(seconds))
        self.once = first - float(np.median(seconds))
        peak = peak_memory_mb(hardware)
        self.gb = (peak["peak_cuda"] or peak["peak_rss"] or 0.0) / 1e3


def theirs(
    name: str, precision: str, device: str, pairs: list[tuple[str, str]], rounds: int, per_query: bool
) -> Timed:
    """FlagEmbedding with its defaults: one `compute_score` call, or one a query as the tutorial does."""
    import FlagEmbedding

    wrapper_class, _, build = ARCHITECTURES[name]
    assert wrapper_class is not None
    half = {} if wrapper_class == "FlagReranker" else {"use_bf16": precision == "bf16"}
    with quiet(), random_weights(build, device, 0):
        wrapper = getattr(FlagEmbedding, wrapper_class)(
            str(FOLDER), use_fp16=precision == "fp16", devices=device, **half
        )
    wrapper.model = wrapper.model.to(DTYPES[precision])  # encoders offer no bf16 of their own
    REPAIRS.get(wrapper_class, leave_as_it_is)(wrapper)
    calls = [list(group) for _, group in groupby(pairs, key=lambda pair: pair[0])] if per_query else [pairs]

    def step() -> np.ndarray:
        return np.concatenate([np.atleast_1d(wrapper.compute_score(list(call))) for call in calls]).astype(
            "f4"
        )

    with quiet():
        timed = Timed(device, len(pairs), rounds, step)
    wrapper.model = None
    return timed


def loaded(name: str, precision: str, device: str, layers: Any) -> tuple[Any, Hardware, float]:
    """A model of random weights, the machine it is on, and the seconds that loading it took."""
    _, settings_class, build = ARCHITECTURES[name]
    options = OPTIONS.get(name, {}) if layers is None else {"cutoff_layers": layers}
    settings = settings_class(model=str(FOLDER), **options)
    hardware = Hardware(device, precision)  # type: ignore[arg-type]
    started = time.perf_counter()
    with quiet(), random_weights(build, device, 0):
        model = settings.load(Weights(FOLDER, "random", name), hardware)
    hardware.synchronize()
    return model, hardware, time.perf_counter() - started


def ours(
    name: str,
    precision: str,
    device: str,
    pairs: list[tuple[str, str]],
    rounds: int,
    layers: Any,
    depths: list[int],
) -> Timed:
    """Our loop as runs use it: windows, tokenized ahead; theirs tokenizes within its call, too."""
    model, hardware, loading = loaded(name, precision, device, layers)
    scores = np.empty((len(pairs), len(model.layers)), np.float32)

    def window_of(numbers: np.ndarray) -> PairWindow:
        queries, documents = zip(*(pairs[number] for number in numbers), strict=True)
        return PairWindow.of(model, model.tokenize_queries(queries), model.tokenize_documents(documents))

    size = window_size(len(pairs))
    parts = [np.arange(start, min(start + size, len(pairs))) for start in range(0, len(pairs), size)]

    def step() -> np.ndarray:
        budget = Budget(512, hardware.batch_tokens, model.enough)
        loop = Loop(model.forward, hardware, budget, streams=hardware.streams)
        for numbers, window in ahead(window_of, parts):
            for index, values in loop.run(window):
                scores[numbers[index]] = values
        return scores[:, -1].copy()

    timed = Timed(device, len(pairs), rounds, step)
    lengths = np.concatenate([window_of(numbers).lengths for numbers in parts])
    timed.flops = flops(model, lengths)  # type: ignore[attr-defined]
    timed.loading = loading  # type: ignore[attr-defined]
    timed.latency = {depth: latency(model, hardware, window_of, depth, len(pairs)) for depth in depths}  # type: ignore[attr-defined]
    return timed


def latency(
    model: Any, hardware: Hardware, window_of: Callable[[np.ndarray], PairWindow], depth: int, pairs: int
) -> float:
    """Median milliseconds of a query with `depth` documents, tokenization and all, after three to warm up."""
    times = []
    for number in range(3 + QUERIES):
        started = time.perf_counter()
        window = window_of(np.arange(number * depth, (number + 1) * depth) % pairs)
        budget = Budget(512, hardware.batch_tokens, model.enough)
        for _ in Loop(model.forward, hardware, budget, streams=hardware.streams).run(window):
            pass
        hardware.synchronize()
        times.append(time.perf_counter() - started)
    return round(float(np.median(times[3:])) * 1e3, 2)


QUERIES = 15
FOLDER = Path(tempfile.mkdtemp())


def flops(model: Any, lengths: np.ndarray) -> float:
    """Multiply-adds, counted as two, of the matrices that every token meets, and of attention."""
    config = model.model.config
    matrices = sum(
        module.in_features * module.out_features for name, module in model.model.named_modules()
        if isinstance(module, torch.nn.Linear | PackedLinear)
        and "lm_head" not in name and "classifier" not in name
    )  # fmt: skip
    heads = config.num_attention_heads * getattr(
        config, "head_dim", config.hidden_size // config.num_attention_heads
    )
    attention = 4 * config.num_hidden_layers * heads
    return float((2 * matrices * lengths + attention * lengths**2).sum())


def matrix_rate(device: str, precision: str) -> float:
    """FLOP/s of a large matrix product: what the device really does."""
    size = 8192 if device.startswith("cuda") else 2048
    left, right = (torch.randn(size, size, device=device, dtype=DTYPES[precision]) for _ in range(2))
    times = []
    for _ in range(8):
        Hardware(device, "fp32").synchronize()
        started = time.perf_counter()
        left @ right
        Hardware(device, "fp32").synchronize()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / float(np.median(times[3:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precisions", nargs="*", default=["bf16", "fp16"])
    parser.add_argument("--pairs", type=int, default=None, help="as many of each, instead of its own number")
    parser.add_argument("--words", type=int, default=None, help="passages of this many words each")
    parser.add_argument(
        "--per-query", type=int, default=None, help="passages a query, one call each for them"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", default=None, help="`all`, or a layer: of the layerwise families")
    parser.add_argument("--depths", type=int, nargs="*", default=[20, 100], help="of single queries")
    parser.add_argument("--suite", action="store_true", help="all, and v2-m3 once more at 512 tokens")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in ARCHITECTURES]:
        parser.error(f"{unknown[0]}: there is no such architecture; choose from {', '.join(ARCHITECTURES)}")
    write_tokenizer(FOLDER)
    results: dict[str, Any] = {"device": arguments.device}
    if arguments.device.startswith("cuda"):
        results["device"] = torch.cuda.get_device_name()
    for precision in arguments.precisions:
        results[f"matrix_tflops_{precision}"] = matrix_rate(arguments.device, precision) / 1e12
        names = SUITE if arguments.suite else arguments.names or tuple(ARCHITECTURES)
        asked = [(name, name, arguments.words) for name in names]
        asked += [("v2-m3 512 tokens", "v2-m3", LONG)] * arguments.suite
        for title, name, words in asked:
            row = compare(name, precision, arguments, words)
            results[f"{title}/{precision}"] = row
            print(title, precision, json.dumps(row), flush=True)
    print(json.dumps(results))


def compare(name: str, precision: str, arguments: argparse.Namespace, words: int | None) -> dict[str, Any]:
    """Our loop, and FlagEmbedding's on the same pairs where it has the architecture."""
    pairs = make_pairs(arguments.pairs or PAIRS[name], words, 0, arguments.per_query or 1)
    layerwise = issubclass(ARCHITECTURES[name][1], Layerwise)
    last = [ARCHITECTURES[name][2]()[1].num_hidden_layers]
    layers = ("all" if arguments.layers == "all" else last) if layerwise else None
    own = ours(name, precision, arguments.device, pairs, arguments.rounds, layers, arguments.depths)
    torch.cuda.empty_cache()
    rate = matrix_rate(arguments.device, precision)
    found = {
        "ours_pairs_per_second": round(own.rate, 1),
        "matrix_share": round(own.flops * own.rate / len(pairs) / rate, 3),  # type: ignore[attr-defined]
        "ours_peak_gb": round(own.gb, 2),
        "ours_ms_by_depth": own.latency,  # type: ignore[attr-defined]
        "ours_once_s": {"load": round(own.loading, 2), "first_round": round(own.once, 2)},  # type: ignore[attr-defined]
    }
    if ARCHITECTURES[name][0] is None:
        return found
    peer = theirs(name, precision, arguments.device, pairs, arguments.rounds, bool(arguments.per_query))
    torch.cuda.empty_cache()
    return found | {
        "compute_score_pairs_per_second": round(peer.rate, 1),
        "ratio": round(own.rate / peer.rate, 2),
        "compute_score_peak_gb": round(peer.gb, 2),
        "compute_score_once_s": round(peer.once, 2),
        "largest_difference": float(np.abs(own.scores - peer.scores).max()),
        "score_spread": float(peer.scores.std()),
    }


if __name__ == "__main__":
    main()
