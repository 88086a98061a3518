"""Which option a model's folder looks like, for whoever gave it to another one."""

from __future__ import annotations

from pathlib import Path

from rerankbench.engine.models.checkpoint import architecture
from rerankbench.engine.models.cross_encoder_folder import described
from rerankbench.engine.models.sentence_modules import is_late_interaction, modules_of

TOKENIZER_FILES = (
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "tokenizer.json",
    "vocab.json",
)
BY_ARCHITECTURE = {
    "GemmaForCausalLM": "gemma",
    "LayerWiseMiniCPMForCausalLM": "minicpm-layerwise",
    "CostWiseGemmaForCausalLM": "lightweight",
    "T5ForConditionalGeneration": "monot5-base",
    "MT5ForConditionalGeneration": "monot5-base",
}


def knows(folder: Path, token: str) -> bool:
    """Whether a folder's tokenizer files name a token; large ones are read, but not parsed."""
    files = (folder / name for name in TOKENIZER_FILES)
    return any(token.encode() in file.read_bytes() for file in files if file.is_file())


def option_for(folder: Path) -> str:
    """`choose reranker=NAME`, as far as the folder tells; all families where it does not."""
    name = architecture(folder)
    option = BY_ARCHITECTURE.get(name)
    if name.endswith("ForSequenceClassification"):
        option = "base"
    elif (folder / "colbert_linear.pt").is_file():
        option = "bge-m3"
    elif is_late_interaction(folder):
        option = "colbertv2"
    elif name.endswith("Model"):
        option = "minilm-bi-encoder" if "mean" in modules_of(folder).pooling else "bge-base-bi-encoder"
    elif described(folder).answers or (name == "Qwen3ForCausalLM" and knows(folder, "<think>")):
        option = "qwen3-0.6b"
    elif name == "Qwen2ForCausalLM":
        option = "mxbai-v2-base"
    if option:
        return f"choose reranker={option} with this reranker.model"
    known = (
        "base, qwen3-0.6b, mxbai-v2-base, gemma, monot5-base, minicpm-layerwise, lightweight, "
        "bge-base-bi-encoder, bge-m3, colbertv2"
    )
    return f"choose the option of its family ({known})"
