"""One folder has one score, under transformers 4 and 5, whichever of them wrote it.

`make tests-transformers5` runs this under version 5, over all folders of helpers/version_folders.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import version_folders
from rerankbench.engine.models import flagembedding_code, model_config
from rerankbench.engine.models.model_config import reads_version_5
from rerankbench.engine.models.tokenizer_folder import input_names, tokenizer_of
from rerankbench.rerankers.encoder import Encoder
from version_folders import BUILDERS, FEW, SAID, numbers, said_by, with_settings

FOLDERS = os.environ.get("RERANKBENCH_VERSION_FOLDERS")
"""Where the make target has put folders 4, 5 and settings, and what version 4 makes of 5: by-4-of-5.json."""
EXPECTED = json.loads((Path(__file__).parent / "scores_of_version_4.json").read_text())

across = pytest.mark.skipif(FOLDERS is None, reason="folders of both versions: make tests-transformers5")


def folder_of(name: str, models: Path) -> Path:
    if FOLDERS is not None:
        return Path(FOLDERS, "4", name)
    folder = models / name
    return folder if folder.is_dir() else BUILDERS[name](folder)


def same(found: Any, expected: Any) -> None:
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BUILDERS if FOLDERS is not None else FEW)
def test_scores_are_those_of_version_4(name: str, models: Path, tmp_path: Path) -> None:
    same(numbers(name, folder_of(name, models), tmp_path), EXPECTED[name])


@across
@pytest.mark.parametrize("name", version_folders.RESAVED)
def test_what_version_5_saved_scores_the_same_under_both(name: str, tmp_path: Path) -> None:
    by_4 = json.loads(Path(str(FOLDERS), "by-4-of-5.json").read_text())[name]
    same(numbers(name, Path(str(FOLDERS), "5", name), tmp_path), by_4)


def test_this_is_the_version_that_the_target_says() -> None:
    import transformers

    assert reads_version_5() == (int(transformers.__version__.partition(".")[0]) >= 5)
    assert reads_version_5() or FOLDERS is None


# --- tokenizers: what tokenizer_config.json says beside tokenizer.json, as version 4 follows it ---

TOKENS = json.loads((Path(__file__).parent / "tokens_of_version_4.json").read_text())


@pytest.mark.parametrize("which", SAID)
def test_tokens_follow_the_settings_as_in_version_4(which: str, tmp_path: Path) -> None:
    found = said_by(tokenizer_of(folder_with(which, tmp_path), code=False))
    assert found == TOKENS[which]


def folder_with(which: str, tmp_path: Path) -> Path:
    """Written by version 4 in either case: version 5 would build other tokenizers."""
    if FOLDERS is None:
        return with_settings(which, tmp_path)
    return Path(FOLDERS, "settings", which)


@pytest.mark.skipif(reads_version_5(), reason="what version 4 has of itself")
@pytest.mark.parametrize("which", SAID)
def test_these_tokens_are_what_plain_transformers_gives(which: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    plain = AutoTokenizer.from_pretrained(with_settings(which, tmp_path))
    assert said_by(plain) == TOKENS[which]


def test_types_of_tokens_by_who_wrote_them() -> None:
    typed = ["input_ids", "token_type_ids", "attention_mask"]
    untyped = ["input_ids", "attention_mask"]
    assert input_names({}, "PreTrainedTokenizerFast") == typed
    assert input_names({}, "AlbertTokenizer") == typed
    assert input_names({}, "XLMRobertaTokenizerFast") == untyped
    assert input_names({"backend": "tokenizers"}, "AlbertTokenizer") == untyped
    assert input_names({"backend": "tokenizers"}, "BertTokenizer") == typed
    assert input_names({"model_input_names": ["input_ids"]}, "BertTokenizer") == ["input_ids"]


# --- without FlagEmbedding ---


def test_models_load_without_flagembedding(models: Path, tmp_path: Path) -> None:
    """All but the two whose code only FlagEmbedding has; those say so in one line."""
    folders = {name: folder_of(name, models) for name in ("base", "gemma", "qwen3-0.6b", "bge-small-en")}
    script = (
        "import sys; sys.modules['FlagEmbedding'] = None\n"
        "from pathlib import PosixPath\n"
        "from version_folders import numbers\n"
        f"for name, folder in {folders!r}.items(): numbers(name, folder, PosixPath('cache'))\n"
        "print('done')"
    )
    helpers = str(Path(version_folders.__file__).parent)
    paths = os.pathsep.join([helpers, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.split()[-1:] == ["done"], done.stderr


@pytest.mark.parametrize("name", version_folders.NOT_IN_TRANSFORMERS)
def test_a_flagembedding_that_does_not_import_is_one_line(
    name: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flagembedding_code, "MODELS", "FlagEmbedding.not_there.")
    with pytest.raises(flagembedding_code.UserError, match=r"pip install 'transformers<5' cures it") as error:
        numbers(name, folder_of(name, models), tmp_path)
    assert len(error.value.problems) == 1


def test_what_is_gone_is_lent_for_an_import_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flagembedding_code, "GONE_MODULE", "transformers.never_was")
    monkeypatch.setattr(flagembedding_code, "GONE", ("helper",))
    with flagembedding_code.what_is_gone():
        from transformers.never_was import helper
    assert "transformers.never_was" not in sys.modules
    with pytest.raises(ImportError, match="no longer has"):
        helper()


# --- folders of version 5 that version 4 cannot read right are no problem to version 5 ---


@pytest.mark.parametrize("fifth", [False, True])
def test_unknown_kinds_of_version_5_are_refused_by_version_4_alone(
    fifth: bool, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(folder_of("minilm", models), tmp_path / "5")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "ernie", "transformers_version": "5.3.0"}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(model_config, "reads_version_5", lambda: fifth)
    assert any("transformers 5 wrote it" in line for line in Encoder(str(folder)).problems()) is not fifth
