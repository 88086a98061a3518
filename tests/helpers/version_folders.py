"""Folders that both versions of transformers read, and their scores: for `make tests-transformers5`.

    python tests/helpers/version_folders.py write FOLDERS        # with version 4
    python tests/helpers/version_folders.py resave FOLDERS TO    # with version 5: read and saved by it
    python tests/helpers/version_folders.py score FOLDERS FILE   # with either

`score` of what version 4 wrote and reads makes tests/rerankers/scores_of_version_4.json, and `tokens` under
version 4 makes tests/rerankers/tokens_of_version_4.json:

    python tests/helpers/version_folders.py tokens FOLDERS FILE
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tiny_architectures
import tiny_models
from rerankbench.engine.embedders.embedder import Embedder
from rerankbench.engine.hardware import Hardware
from rerankbench.rerankers.encoder import Encoder
from rerankbench.rerankers.llm import LLM
from rerankbench.rerankers.reranker import Reranker
from tiny_architectures import CAUSAL, SCORERS
from tiny_prompted import PROMPTED
from tiny_rerankers import CLASSES, FAMILY_OF, scores

Builder = Callable[..., Path]
BUILDERS: dict[str, Builder] = {
    **tiny_models.ALL,
    **tiny_models.EMBEDDERS,
    **PROMPTED,
    **{f"classifier-{name}": build for name, build in SCORERS.items()},
    **{f"causal-{name}": build for name, build in CAUSAL.items()},
}
NOT_IN_TRANSFORMERS = ("minicpm-layerwise", "lightweight")  # so that it cannot save them
# Version 5 cannot open the first, gives the others' texts tokens that their models lack when it saves them.
SAVED_WRONG = ("classifier-albert", "gemma", *(f"classifier-gemma{n}" for n in ("", "2", "3")))
SAVED_WRONG += ("causal-gemma2", "causal-gemma3")
RESAVED = tuple(name for name in BUILDERS if name not in (*NOT_IN_TRANSFORMERS, *SAVED_WRONG, "monot5-base"))
FEW = ("base", "minilm", "gemma", "minicpm-layerwise", "lightweight", "qwen3-0.6b", "bge-small-en", "bge-m3")
"""One of each family, which every `make test` compares; monot5-base and the classifiers take longer."""

QUERIES = ("What is the capital of France?", "法国的首都是哪里？", "q", "")
DOCUMENTS = (
    "Mars has two small moons, Phobos and Deimos, discovered in 1877. " * 3,
    "two\nlines",
    "ŵ 🙂 龘 <unk> <s> x",
    "  spaces   here [MASK] <mask> A",
    "",
)
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
ON_CPU = Hardware("cpu", "fp32")


def settings(name: str, folder: Path) -> Reranker:
    model = str(folder)
    if name.startswith("classifier-"):
        return Encoder(model, max_length=64)
    if name.startswith("causal-"):
        return LLM(model, max_length=64, yes="Yes")
    family = tiny_models.FAMILIES.get(name) or FAMILY_OF[name]
    return CLASSES[family](model=model, max_length=300 if name in PROMPTED else 64)


def numbers(name: str, folder: Path, cache: Path) -> np.ndarray[Any, Any]:
    """Scores [pairs, layers] of a reranker, vectors [texts, dimensions] of an embedder, as float64."""
    if name in tiny_models.EMBEDDERS:
        return vectors(folder, cache)
    usable, weights = settings(name, folder).resolved(cache)
    usable.rehearse(weights, ON_CPU)
    return scores(usable.load(weights, ON_CPU), PAIRS).astype(float)  # type: ignore[arg-type]


def vectors(folder: Path, cache: Path) -> np.ndarray[Any, Any]:
    import torch

    from rerankbench.engine.loop import to_device

    usable, weights = Embedder(model=str(folder), max_length=64).resolved(cache)
    usable.rehearse(weights, ON_CPU)
    model = usable.load(weights, ON_CPU)
    window = model.window(model.tokenize([*QUERIES, *DOCUMENTS], usable), usable)
    with torch.inference_mode():
        each = [model.forward(to_device(window.collate(np.array([n])), "cpu")) for n in range(9)]
    return torch.cat(each).double().numpy()


TEXTS = ["Ünïted 北京 States", " the ring", "a", "", "is the ŵ"]
# (a tokenizer's files, what its tokenizer_config.json says besides; None: not a word)
SAID: dict[str, tuple[str, dict[str, Any]]] = {
    "case that the file folds": ("bert_files", {"do_lower_case": False}),
    "accents": ("bert_files", {"strip_accents": False}),
    "Chinese characters": ("bert_files", {"tokenize_chinese_chars": False}),
    "no settings": ("bert_files", {"do_lower_case": None}),
    "a space before": ("roberta_files", {"add_prefix_space": True}),
    "no beginning": ("llama_files", {"add_bos_token": False}),
    "an end": ("gemma_files", {"add_eos_token": True}),
    "an end that the class has not": ("qwen_files", {"add_eos_token": True, "eos_token": "<|endoftext|>"}),
    "no class": ("bert_files", {"tokenizer_class": None}),
    "a plain class": ("bert_fast_files", {"add_bos_token": True, "bos_token": "[CLS]"}),
}


def with_settings(which: str, root: Path) -> Path:
    """A folder of a tokenizer alone, with settings beside it."""
    (files, said), target = SAID[which], root / which
    target.mkdir(parents=True)
    written = getattr(tiny_architectures, files)()
    for name, content in written.items():
        (target / name).write_bytes(content)
    settings = json.loads(written["tokenizer_config.json"]) | said
    kept = {name: value for name, value in settings.items() if value is not None}
    (target / "tokenizer_config.json").write_text(json.dumps(kept))
    (target / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return target


def said_by(tokenizer: Any) -> list[Any]:
    """What a tokenizer makes of texts and a pair, whether it tells them apart, and its special tokens."""
    pairs = [tokenizer("is the", "ring of Ü")["input_ids"], "token_type_ids" in tokenizer.model_input_names]
    special = [getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "cls", "sep", "pad", "unk")]
    return [[tokenizer(text)["input_ids"] for text in TEXTS], *pairs, special]


def write(root: Path) -> None:
    for name, build in BUILDERS.items():
        build(root / name)


def resave(source: Path, target: Path) -> None:
    """As somebody does who trains on with this version: read by transformers, and saved by it."""
    import transformers

    for name in RESAVED:
        (architecture,) = json.loads((source / name / "config.json").read_text())["architectures"]
        getattr(transformers, architecture).from_pretrained(source / name).save_pretrained(target / name)
        transformers.AutoTokenizer.from_pretrained(source / name).save_pretrained(target / name)


def score(root: Path, file: Path) -> None:
    with TemporaryDirectory() as cache:
        names = [name for name in BUILDERS if (root / name).is_dir()]
        found = {name: numbers(name, root / name, Path(cache)).round(7).tolist() for name in names}
    to_lines(found, file)


def tokens(root: Path, file: Path) -> None:
    """What transformers itself reads of tokenizers that are written to `root`."""
    from transformers import AutoTokenizer

    found = {which: said_by(AutoTokenizer.from_pretrained(with_settings(which, root))) for which in SAID}
    to_lines(found, file)


def to_lines(found: dict[str, Any], file: Path) -> None:
    lines = (f"{json.dumps(name)}: {json.dumps(values)}" for name, values in found.items())
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    step, source, *target = sys.argv[1:]
    steps: tuple[Callable[..., None], ...] = (write, resave, score, tokens)
    {one.__name__: one for one in steps}[step](Path(source), *map(Path, target))


if __name__ == "__main__":
    main()
