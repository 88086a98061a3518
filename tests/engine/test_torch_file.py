"""Tensors of torch's own files are read as torch reads them, and nothing that such a file names is run."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankbench.basics.errors import UserError
from rerankbench.engine.models.torch_file import torch_tensors


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layers_tensors_are_those_that_torch_reads(dtype: str, bias: bool, tmp_path: Path) -> None:
    import torch

    layer = torch.nn.Linear(7, 3, bias=bias).to(getattr(torch, dtype))
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    found = torch_tensors(tmp_path / "layer.pt")
    expected = torch.load(tmp_path / "layer.pt", weights_only=True)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected[name].float().numpy())


def test_plain_dictionaries_and_shared_storages_are_read(tmp_path: Path) -> None:
    import torch

    both = torch.arange(12.0).reshape(4, 3)
    torch.save({"upper": both[:2], "lower": both[2:]}, tmp_path / "both.pt")
    found = torch_tensors(tmp_path / "both.pt")
    np.testing.assert_array_equal(found["upper"], both[:2])
    np.testing.assert_array_equal(found["lower"], both[2:])


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def archive(file: Path, content: Any) -> Path:
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("layer/data.pkl", pickle.dumps(content, protocol=2))
    return file


def test_what_a_file_wants_to_be_called_is_refused_and_not_called(tmp_path: Path) -> None:
    for content in (Bomb(tmp_path / "hit"), {"weight": Bomb(tmp_path / "hit")}):
        with pytest.raises(UserError, match="not readable as a file of tensors"):
            torch_tensors(archive(tmp_path / "layer.pt", content))
    assert not (tmp_path / "hit").exists()


def test_files_of_other_kinds_are_one_line_with_their_name(tmp_path: Path) -> None:
    import torch

    torch.save({"weight": torch.ones(3, 2).T, "n": 1}, tmp_path / "bent.pt")
    whole = (tmp_path / "whole.pt").open("wb")
    torch.save({"weight": torch.ones(40, 40)}, whole)
    whole.close()
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:900])
    (tmp_path / "text.pt").write_text("no tensors")
    archive(tmp_path / "other.pt", OrderedDict(weight="three"))
    archive(tmp_path / "list.pt", [1, 2])
    torch.save({"weight": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("bent", "cut", "text", "other", "list", "old", "missing"):
        with pytest.raises(UserError) as caught:
            torch_tensors(tmp_path / f"{name}.pt")
        (line,) = caught.value.problems
        assert line.startswith(f"{tmp_path / name}.pt: ")
        assert "fetch it again" in line
