"""LoRA adapters as peft writes them: what is in their folder, and how they are merged into a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rerankbench.basics.errors import UserError
from rerankbench.basics.finding import reason, shown
from rerankbench.engine.models.checkpoint import files_identity, safetensors_header
from rerankbench.engine.models.json_files import read_json

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_problems(adapter: str | None) -> list[str]:
    """Why a folder cannot be merged as an adapter, one line each; reads no tensors."""
    if adapter is None:
        return []
    place, folder = f"reranker.adapter={adapter}", Path(adapter).expanduser()
    missing = [name for name in (SETTINGS, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        return [
            f"{place}: no {' and no '.join(missing)} there; give the folder that peft saved as safetensors"
        ]
    try:
        kind = read_json(folder / SETTINGS).get("peft_type")
        safetensors_header(folder / WEIGHTS)
    except UserError as error:
        return [f"reranker.adapter: {problem}" for problem in error.problems]
    if kind != "LORA":
        return [f"{place}: is of kind {kind!r}, not LORA; merge it into its model with peft first"]
    return []


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and not a whole model beside it."""
    return (folder / SETTINGS).is_file() and not any(folder.glob("model*.safetensors*"))


def base_of(folder: Path) -> tuple[str, str | None]:
    """(model, revision) that an adapter was trained on, as its own config names it.

    Raises UserError where it names none, or a folder that is not here.
    """
    settings = read_json(folder / SETTINGS)
    base, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    cure = f"give its base as reranker.model and reranker.adapter={folder}"
    if not isinstance(base, str) or not base.strip():
        raise UserError(f"{folder}: an adapter whose {SETTINGS} names no base model; {cure}")
    if not Path(base).expanduser().exists() and (base.startswith((".", "/", "~")) or base.count("/") != 1):
        raise UserError(f"{folder}: an adapter of {shown(base)}, which is not here; {cure}")
    return base, revision if isinstance(revision, str) and revision else None


def adapter_identity(adapter: str) -> str:
    """The hash of the two files that determine what an adapter adds."""
    folder = Path(adapter).expanduser()
    return files_identity([folder / SETTINGS, folder / WEIGHTS])


def merged(model: Any, adapter: str | None) -> Any:
    """`model` with the adapter's products added to its weights. Raises UserError where they do not fit.

    A model without memory for its weights stays as it is: nothing changes its shapes.
    """
    if adapter is None or next(model.parameters()).is_meta:
        return model
    from peft import PeftModel

    folder = Path(adapter).expanduser()
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
        taken = adapted.load_adapter(str(folder), adapted.active_adapter)  # says what fits, as nothing else
        whole = adapted.merge_and_unload()
    except Exception as error:  # whatever peft raises for names and shapes that do not fit
        raise UserError(
            f"reranker.adapter={adapter}: does not fit the model ({reason(error)}); give the base model that "
            "it was trained on as reranker.model"
        ) from error
    # biases of whole modules are in an adapter's file twice
    strange = [name for name in taken.unexpected_keys if ".modules_to_save." not in name]
    if odd := strange + taken.missing_keys:
        where = "the model has no place for it" if strange else "the adapter lacks it"
        raise UserError(
            f"reranker.adapter={adapter}: does not fit the model, {len(odd)} tensors are in only one "
            f"of them; the first is {odd[0]}, {where}; give the base model that it was trained on as "
            "reranker.model"
        )
    return whole
