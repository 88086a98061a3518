"""Folders of sentence-transformers are embedded as they describe themselves, or refused with what to set."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankbench.basics.errors import UserError
from rerankbench.basics.typed_settings import convert
from rerankbench.engine.embedders.embedder import OF_BGE, Embedder
from rerankbench.engine.embedders.embedding import Embedding
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.loop import Budget
from tiny_models import EMBEDDERS

TEXTS = ["Mars has two small moons, Phobos and Deimos.", "", "Paris is the capital. " * 60, "法国的首都"]
BGE = f"{OF_BGE} "


def sentence_folder(bare: Path, target: Path, pooling: str | list[str] = "mean", **more: Any) -> Path:
    """A bare model's folder as sentence-transformers itself writes it around the same weights."""
    from sentence_transformers import SentenceTransformer, models

    words = models.Transformer(str(bare), max_seq_length=more.pop("max_seq_length", 512))
    modules: list[Any] = [words, models.Pooling(64, pooling_mode=pooling, **more.pop("pooler", {}))]
    modules += [models.Normalize()] if more.pop("normalize", True) else []
    modules += [models.Dense(64, 32)] if more.pop("dense", False) else []
    SentenceTransformer(modules=modules, device="cpu", **more).save_pretrained(str(target))
    return target


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return EMBEDDERS["bge-small-en"](tmp_path_factory.mktemp("bare") / "model")


def vectors(settings: Embedder, cache: Path) -> tuple[Any, Any]:
    """(of TEXTS as queries, as passages)."""
    embedding = Embedding(settings, Hardware("cpu", "fp32"), cache, Budget(64, 4096))
    passages = embedding.passages(lambda rows: [TEXTS[row] for row in rows], len(TEXTS))
    return embedding.queries(TEXTS), passages.array()


def cured(settings: Embedder, line: str) -> Embedder:
    """The settings with what the line says to set, read as the command line reads it."""
    words = shlex.split(re.search(r"; set (.*)$", line)[1])  # type: ignore[index]
    found: dict[str, Any] = {}
    for word in words:
        key, _, value = word.removeprefix("embedder.").partition("=")
        found[key] = json.loads(value) if value[0] in '"tf0123456789' else value
    problems: list[str] = []
    read = convert(Embedder, {**vars(settings), **found}, "embedder.", problems)
    assert problems == []
    return read  # type: ignore[return-value]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_those_of_sentence_transformers(bare: Path, tmp_path: Path, pooling: str) -> None:
    from sentence_transformers import SentenceTransformer

    prompts = {"query": "Find: ", "document": "Text: "}
    folder = sentence_folder(bare, tmp_path / "st", pooling, prompts=prompts, max_seq_length=64)
    settings = Embedder(str(folder), query_instruction=BGE, pooling="cls" if pooling == "mean" else "mean")
    (line,) = settings.problems()
    settings = cured(settings, line)
    assert settings.problems() == []
    queries, passages = vectors(settings, tmp_path / "cache")
    oracle = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(queries, oracle.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(passages, oracle.encode_document(TEXTS), atol=1e-5)


def test_another_familys_folder_is_refused_with_both_poolings_and_its_instruction(
    bare: Path, tmp_path: Path
) -> None:
    folder = sentence_folder(bare, tmp_path / "st", max_seq_length=256)
    settings = Embedder(str(folder), query_instruction=BGE)  # embedder=bge-base-en embedder.model=folder
    (line,) = settings.problems()
    for words in ("pooling mean where embedder.pooling=cls", "no query prompt", "at most 256 tokens"):
        assert words in line
    assert cured(settings, line).problems() == []
    (line,) = replace(settings, pooling="mean").problems()  # one cure alone leaves the other difference
    assert "'embedder.query_instruction=\"\"'" in line


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ({"pooling": "max"}, {}, "pools by max"),
        ({"pooling": "lasttoken"}, {}, "pools by lasttoken"),
        ({"pooling": ["cls", "mean"]}, {}, "pools by cls and mean"),
        ({"dense": True}, {"pooling": "mean"}, "Dense"),
        ({"normalize": False, "similarity_fn_name": "dot"}, {"pooling": "mean"}, "vectors as they are"),
        ({}, {"pooling": "mean", "normalize": False}, "unit vectors"),
        ({"prompts": {"query": "q: "}}, {"pooling": "mean"}, "query prompt 'q: '"),
        ({"prompts": {"passage": "p: "}}, {"pooling": "mean"}, "document prompt 'p: '"),
        (
            {"prompts": {"any": "x: "}, "default_prompt_name": "any"},
            {"pooling": "mean"},
            "query prompt 'x: '",
        ),
        (
            {"pooler": {"include_prompt": False}},
            {"pooling": "mean", "query_instruction": "q: "},
            "leaves instructions out",
        ),
    ],
    ids=str,
)
def test_what_a_folder_says_otherwise_is_one_line(
    bare: Path, tmp_path: Path, options: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    asked = Embedder(str(sentence_folder(bare, tmp_path / "st", **options)), **settings)
    (line,) = asked.problems()
    assert words in line
    assert line.startswith(f"embedder.model={asked.model}: ")
    with pytest.raises(UserError, match=re.escape(words)):  # also where the folder came from the hub
        vectors(asked, tmp_path / "cache")
    if "; set " in line:
        assert cured(asked, line).problems() == []


@pytest.mark.parametrize("flag", ["pooling_mode_mean_tokens", "pooling_mode_max_tokens"])
def test_poolings_of_earlier_versions_are_read(bare: Path, tmp_path: Path, flag: str) -> None:
    folder = sentence_folder(bare, tmp_path / "st")
    flags = {"word_embedding_dimension": 64, "pooling_mode_cls_token": False, flag: True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(flags))
    (line,) = Embedder(str(folder)).problems()
    assert ("pooling mean" in line) == (flag == "pooling_mode_mean_tokens")


@pytest.mark.parametrize("text", ["{", "[", "[1]", '[{"type": 1}]', '{"a": 1}', "null"])
def test_a_damaged_list_of_modules_is_never_silence(bare: Path, tmp_path: Path, text: str) -> None:
    folder = shutil.copytree(bare, tmp_path / "st")
    (folder / "modules.json").write_text(text)
    problems = Embedder(str(folder)).problems()
    assert problems == [] if text == "[1]" else len(problems) == 1


def edited(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | values))


def listed(folder: Path, place: int, **values: Any) -> None:
    """Change an entry of modules.json."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[place] |= values
    (folder / "modules.json").write_text(json.dumps(modules))


GENERAL, OWN = "config_sentence_transformers.json", "sentence_bert_config.json"
HIDDEN = {"text": {"method": "forward", "method_output_name": ["hidden_states", 1]}}
ELSEWHERE: list[tuple[Any, str]] = [
    (lambda at: shutil.rmtree(at / "1_Pooling"), "its 1_Pooling/config.json is missing"),
    (lambda at: (at / "1_Pooling/config.json").write_text("{"), "its 1_Pooling/config.json is damaged"),
    (lambda at: (at / GENERAL).write_text("{"), f"its {GENERAL} is damaged"),
    (lambda at: listed(at, 1, path="../1_Pooling"), "names '../1_Pooling', which is outside the folder"),
    (lambda at: listed(at, 0, path="0_Transformer"), "has the model in '0_Transformer'; save it again"),
    (lambda at: listed(at, 0, type="custom_st.Transformer"), "adds custom_st.Transformer to the model"),
    (lambda at: listed(at, 2, type="a.models.Transformer"), "adds a.models.Transformer to the model"),
    (lambda at: edited(at, GENERAL, truncate_dim=16), "cuts vectors to 16 numbers (truncate_dim)"),
    (lambda at: edited(at, OWN, modality_config=HIDDEN), "reads texts by {'text': {'method': 'forward', 'me"),
    (lambda at: edited(at, OWN, config_args={"num_attention_heads": 2}), "config_args.num_attention_heads"),
    (
        lambda at: edited(at, OWN, processing_kwargs={"text": {"stride": 2}}),
        "sets text.stride beyond what is followed here",
    ),
]


@pytest.mark.parametrize(
    ("change", "words"), ELSEWHERE, ids=lambda value: value if type(value) is str else ""
)
def test_what_a_folder_asks_for_and_is_not_done_is_never_silence(
    change: Any, words: str, bare: Path, tmp_path: Path
) -> None:
    folder = sentence_folder(bare, tmp_path / "st")
    settings = Embedder(str(folder), pooling="mean")
    assert settings.problems() == []
    change(folder)
    (line,) = settings.problems()
    assert words in line


def test_modules_in_another_order_are_refused(bare: Path, tmp_path: Path) -> None:
    folder = sentence_folder(bare, tmp_path / "st")
    words, pooling, norm = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([words, norm, pooling]))
    (line,) = Embedder(str(folder), pooling="mean").problems()
    assert "has Transformer, Normalize, Pooling in this order, which is not supported" in line


@pytest.mark.parametrize("path", ["1_Pooling/", "pool", "parts/pool", "./pool"])
def test_pooling_is_read_wherever_modules_json_has_it(bare: Path, tmp_path: Path, path: str) -> None:
    folder = sentence_folder(bare, tmp_path / "st")
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / "1_Pooling").rename(folder / path)
    listed(folder, 1, path=path)
    (line,) = Embedder(str(folder)).problems()
    assert "pooling mean where embedder.pooling=cls" in line


@pytest.mark.parametrize("said", [{}, {"word_embedding_dimension": 64}, {"pooling_mode_cls_token": False}])
def test_pooling_that_is_not_said_is_that_of_sentence_transformers(
    bare: Path, tmp_path: Path, said: dict[str, Any]
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = sentence_folder(bare, tmp_path / "st")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 64} | said))
    settings = Embedder(str(folder), pooling="mean")
    assert settings.problems() == []
    _, passages = vectors(settings, tmp_path / "cache")
    oracle = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(passages, oracle.encode_document(TEXTS), atol=1e-5)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    assert settings.problems() == []


@pytest.mark.parametrize("name", ["sentence_roberta_config.json", "sentence_xlm-roberta_config.json"])
def test_lengths_under_names_of_early_days_are_notes(bare: Path, tmp_path: Path, name: str) -> None:
    folder = sentence_folder(bare, tmp_path / "st")
    (folder / OWN).unlink()
    edited(folder, name, max_seq_length=64)
    (note,) = Embedder(str(folder), pooling="mean").notes(folder)
    assert "the folder's own limit is 64 tokens" in note


def test_prompts_that_nobody_asks_for_are_a_note(bare: Path, tmp_path: Path) -> None:
    prompts = {"search_query": "search_query: ", "search_document": "search_document: "}
    folder = sentence_folder(bare, tmp_path / "st", prompts=prompts)
    settings = Embedder(str(folder), pooling="mean")
    assert settings.problems() == []
    (note,) = settings.notes(folder)
    assert "its own files have prompts that are not used (search_document, search_query)" in note
    assert replace(settings, query_instruction="search_query: ").notes(folder) == []


def test_a_plain_folder_is_embedded_as_the_settings_say(bare: Path) -> None:
    for pooling in ("cls", "mean"):
        assert Embedder(str(bare), pooling=pooling, query_instruction=BGE).problems() == []


def test_more_tokens_than_the_folder_cuts_at_are_a_note(bare: Path, tmp_path: Path) -> None:
    settings = Embedder(str(sentence_folder(bare, tmp_path / "st", max_seq_length=64)), pooling="mean")
    assert settings.problems() == []
    (note,) = settings.notes(tmp_path / "st")
    assert "embedder.max_length=64" in note
    assert replace(settings, max_length=64).notes(tmp_path / "st") == []


def test_texts_that_the_folder_turns_to_lower_case(bare: Path, tmp_path: Path) -> None:
    folder = sentence_folder(bare, tmp_path / "st")
    file = folder / "sentence_bert_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_lower_case": True}))
    settings = Embedder(str(folder), pooling="mean")
    embedding = Embedding(settings, Hardware("cpu", "fp32"), tmp_path / "cache", Budget(64, 4096))
    embedding.settings.rehearse(embedding.weights, embedding.hardware)  # its tokenizer does that by itself
    cased = folder / "tokenizer_config.json"
    cased.write_text(json.dumps(json.loads(cased.read_text()) | {"do_lower_case": False}))
    with pytest.raises(UserError, match="turns texts to lower case"):
        embedding.settings.rehearse(embedding.weights, embedding.hardware)
