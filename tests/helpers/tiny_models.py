"""Tiny random models: one Hugging Face folder per reranker and embedder family, built offline in seconds.

Each builder writes `config.json`, `model.safetensors` and tokenizer files of the classes that the real models
use, so that everything that loads a real model by its folder loads these too. Weights come from the seed
alone and tokenizers from the corpus below, so a folder has the same bytes on every build.

    folder = tiny_xlmr_encoder(tmp_path / "base")
    folder = ALL["lightweight"](tmp_path / "lightweight", seed=3)
"""

import contextlib
import io
import string
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

Builder = Callable[..., Path]

LLM_PROMPT = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query "
    "by providing a prediction of either 'Yes' or 'No'."
)
LIGHTWEIGHT_PROMPT = "Predict whether passage B contains an answer to query A."

LAYERS = 6  # of the layerwise and the lightweight model
START_LAYER = 2  # the lowest layer that they can answer from

SENTENCES = (
    "What is the capital of France?",
    "Paris is the capital and largest city of France.",
    "Berlin has been the capital of Germany since 1990.",
    "How many moons does the planet Mars have?",
    "Mars has two small moons, Phobos and Deimos, discovered in 1877.",
    "Water boils at 100 degrees Celsius at sea level.",
    "The heart pumps blood through the body about 100,000 times a day.",
    "Who wrote the play Romeo and Juliet? William Shakespeare wrote it around 1595.",
    "Search engines rank documents by their relevance to a query.",
    "A cat sat on the mat; the dog (named Rex) ran away - quickly!",
    "Plants turn light into sugar: this is called photosynthesis.",
    "The river flows north from the mountains to the sea.",
    "法国的首都是巴黎。",
    "北京是中国的首都，也是全国的政治和文化中心。",
    "水在一百摄氏度时沸腾。",
    "今天天气很好，我们去公园看书。",
    "谁在哪里？为什么？怎么样？有几个？什么时候？",
    "地球绕太阳转一圈需要多少时间？大约三百六十五天。",
    "日本の首都は東京です。",
    "富士山は日本で一番高い山です。",
    "باريس هي عاصمة فرنسا.",
    "القاهرة مدينة كبيرة في مصر، وفيها نهر النيل.",
    "ما هي عاصمة اليابان؟ طوكيو.",
    "पेरिस फ्रांस की राजधानी है।",
    "भारत की राजधानी कौन सी है? नई दिल्ली।",
    "गंगा भारत की सबसे लंबी नदी है।",
)
COMMON_CHINESE = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经十三"
    "之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样"
    "与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题党程展五果料象员革位入"
)


def _characters(first: str, last: str) -> str:
    return " ".join(chr(code) for code in range(ord(first), ord(last) + 1))


def _corpus() -> list[str]:
    """The lines that the tokenizers learn from: sentences often, single characters once."""
    letters = [
        " ".join(string.ascii_letters),
        " ".join(string.digits),
        " ".join(string.punctuation),
        " ".join("。，？！、；：“”（）،؟।"),
        " ".join(COMMON_CHINESE),
        _characters("ぁ", "ん"),
        _characters("ァ", "ン"),
        _characters("ء", "ي"),
        _characters("अ", "ह"),
        _characters("ा", "्"),
    ]
    phrases = ["Yes", "No", "'Yes' or 'No'", "A: ", "B: ", LLM_PROMPT, LIGHTWEIGHT_PROMPT]
    return [*letters, *phrases * 20, *(f"A: {text}" for text in SENTENCES * 5), *SENTENCES * 10]


def _train_sentencepiece(**options: Any) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    # A sentence iterator and a writer keep paths out of the model; one thread keeps its sums in one order.
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_corpus()),
        model_writer=model,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def _unigram_model() -> bytes:
    """As XLM-R's: unigram, NFKC; a character outside the corpus is <unk>."""
    return _train_sentencepiece(
        model_type="unigram", vocab_size=1400, hard_vocab_limit=False, unk_id=0, bos_id=1, eos_id=2, pad_id=-1
    )


def _gemma_model() -> bytes:
    """As Gemma's: BPE with byte fallback, text kept as it is, line breaks are pieces of their own."""
    return _train_sentencepiece(
        model_type="bpe",
        vocab_size=1400,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["\n", "\n\n"],
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
    )


def _llama_model() -> bytes:
    """As MiniCPM's: BPE with byte fallback and a space before each text, so a line break is two tokens."""
    return _train_sentencepiece(
        model_type="bpe",
        vocab_size=1400,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
    )


def _wordpiece_vocabulary() -> bytes:
    """As BERT's: lower case, the corpus' words whole, other words by their characters.

    Written down instead of trained: the trainer of `tokenizers` breaks ties differently in each process.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalise, split = BertNormalizer(lowercase=True).normalize_str, BertPreTokenizer().pre_tokenize_str
    words = {word for line in _corpus() for word, _ in split(normalise(line))}
    characters = sorted({character for word in words for character in word})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    tokens += [f"##{character}" for character in characters]
    tokens += sorted(words.difference(characters))
    return "".join(f"{token}\n" for token in tokens).encode()


@cache
def _vocabulary(train: Callable[[], bytes]) -> bytes:
    return train()


@cache
def _tokenizer_files(
    class_name: str, train: Callable[[], bytes], padding_side: str, max_length: int
) -> dict[str, bytes]:
    """The files of one tokenizer by name; built once per process."""
    import transformers

    # Without add_prefix_space the conversion of a Llama tokenizer forgets the space before the text.
    llama = {"pad_token": "</s>", "legacy": True, "add_prefix_space": True}
    options = llama if class_name == "LlamaTokenizerFast" else {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.write_bytes(_vocabulary(train))
        tokenizer = getattr(transformers, class_name)(
            vocab_file=str(source), model_max_length=max_length, padding_side=padding_side, **options
        )
        tokenizer.init_kwargs.pop("add_prefix_space", None)  # saved, it would convert again on every load
        tokenizer.save_pretrained(Path(folder, "saved"))
        return {file.name: file.read_bytes() for file in sorted(Path(folder, "saved").iterdir())}


_bert_tokenizer = partial(_tokenizer_files, "BertTokenizerFast", _wordpiece_vocabulary, "right")
_xlmr_tokenizer = partial(_tokenizer_files, "XLMRobertaTokenizerFast", _unigram_model, "right")
_gemma_tokenizer = partial(_tokenizer_files, "GemmaTokenizerFast", _gemma_model)
_llama_tokenizer = partial(_tokenizer_files, "LlamaTokenizerFast", _llama_model, "right")


def _vocabulary_size(files: dict[str, bytes]) -> int:
    from tokenizers import Tokenizer

    return int(Tokenizer.from_buffer(files["tokenizer.json"]).get_vocab_size(with_added_tokens=True))


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide the warnings about the age of FlagEmbedding's model classes; errors still come through."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _fill_weights(model: Any, seed: int) -> None:
    """Give every parameter a random value of a size that makes scores of different texts differ visibly.

    Norms and biases are random too: a forward that forgets one of them gives another score.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("bias"):
                weight.copy_(0.1 * noise)
            elif (
                weight.dim() == 1
            ):  # the scale of a norm: around the value it starts from, which is 0 in Gemma
                weight.add_(0.1 * noise)
            else:
                weight.copy_(0.2 * noise)


def _sharpen_attention(model: Any, factor: float) -> None:
    """Enlarge the attention logits until a softcap of 50 changes them (small ones it leaves as they are)."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("q_proj.weight"):
                weight.mul_(factor)


def _write(
    path: str | Path,
    seed: int,
    files: dict[str, bytes],
    model_class: Any,
    config: Any,
    attention_factor: float = 1.0,
) -> Path:
    import torch

    path = Path(path)
    # Constructors draw weights, which must not move the caller's random state.
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        model = model_class(config)
        _fill_weights(model, seed)
        _sharpen_attention(model, attention_factor)
        model.save_pretrained(path, safe_serialization=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def _bert_config(files: dict[str, bytes], **options: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=_vocabulary_size(files),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=512,
        initializer_range=0.2,
        **options,
    )


def _xlmr_config(files: dict[str, bytes], layers: int, max_length: int, **options: Any) -> Any:
    from transformers import XLMRobertaConfig

    return XLMRobertaConfig(
        vocab_size=_vocabulary_size(files),
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=max_length + 2,  # positions start at pad_token_id + 1
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        initializer_range=0.2,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        **options,
    )


def tiny_bert_embedder(path: str | Path, seed: int = 0) -> Path:
    """BertModel with 64 dimensions and at most 512 tokens, as bge-small-en-v1.5 and all-MiniLM-L6-v2."""
    from transformers import BertModel

    files = _bert_tokenizer(512)
    return _write(path, seed, files, BertModel, _bert_config(files))


def tiny_m3(path: str | Path, seed: int = 0) -> Path:
    """XLMRobertaModel with 64 dimensions and at most 8192 tokens, as the dense part of bge-m3."""
    from transformers import XLMRobertaModel

    files = _xlmr_tokenizer(8192)
    return _write(path, seed, files, XLMRobertaModel, _xlmr_config(files, layers=3, max_length=8192))


def tiny_encoder(path: str | Path, seed: int = 0) -> Path:
    """BERT cross-encoder with one label and token types, as ms-marco-MiniLM-L-6-v2."""
    from transformers import BertForSequenceClassification

    files = _bert_tokenizer(512)
    return _write(path, seed, files, BertForSequenceClassification, _bert_config(files, num_labels=1))


def tiny_xlmr_encoder(path: str | Path, seed: int = 0, *, layers: int = 3, max_length: int = 512) -> Path:
    """XLM-R cross-encoder with one label, as bge-reranker-base, -large and (max_length=8192) -v2-m3."""
    from transformers import XLMRobertaForSequenceClassification

    files = _xlmr_tokenizer(max_length)
    config = _xlmr_config(files, layers, max_length, num_labels=1)
    return _write(path, seed, files, XLMRobertaForSequenceClassification, config)


def tiny_llm(path: str | Path, seed: int = 0) -> Path:
    """GemmaForCausalLM with one key-value head, padded on the left, as bge-reranker-v2-gemma."""
    from transformers import GemmaConfig, GemmaForCausalLM

    files = _gemma_tokenizer("left", 8192)
    config = GemmaConfig(
        vocab_size=_vocabulary_size(files),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=8192,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    return _write(path, seed, files, GemmaForCausalLM, config)


def tiny_layerwise(path: str | Path, seed: int = 0) -> Path:
    """LayerWiseMiniCPMForCausalLM that answers from layers 2 to 6, as bge-reranker-v2-minicpm-layerwise."""
    from FlagEmbedding.inference.reranker.decoder_only.models import (
        configuration_minicpm_reranker,
        modeling_minicpm_reranker,
    )

    files = _llama_tokenizer(2048)
    config = configuration_minicpm_reranker.LayerWiseMiniCPMConfig(
        vocab_size=_vocabulary_size(files),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=LAYERS,
        start_layer=START_LAYER,
        head_multi=True,
        head_type="simple",
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        initializer_range=0.2,
        rms_norm_eps=1e-5,
        scale_emb=12,
        scale_depth=1.4,
        dim_model_base=16,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    return _write(path, seed, files, modeling_minicpm_reranker.LayerWiseMiniCPMForCausalLM, config)


def tiny_lightweight(path: str | Path, seed: int = 0) -> Path:
    """CostWiseGemmaForCausalLM that answers from layers 2 to 6, as bge-reranker-v2.5-gemma2-lightweight."""
    from FlagEmbedding.inference.reranker.decoder_only.models import gemma_config, gemma_model

    files = _gemma_tokenizer("right", 8192)
    config = gemma_config.CostWiseGemmaConfig(
        vocab_size=_vocabulary_size(files),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=LAYERS,
        start_layer=START_LAYER,
        layer_sep=1,
        layer_wise=True,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=4096,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        max_position_embeddings=8192,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        tie_word_embeddings=False,
    )
    return _write(path, seed, files, gemma_model.CostWiseGemmaForCausalLM, config, attention_factor=8.0)


ALL: dict[str, Builder] = {
    "base": tiny_xlmr_encoder,
    "large": partial(tiny_xlmr_encoder, seed=1, layers=4),
    "v2-m3": partial(tiny_xlmr_encoder, seed=2, max_length=8192),
    "gemma": tiny_llm,
    "minicpm-layerwise": tiny_layerwise,
    "lightweight": tiny_lightweight,
    "minilm": tiny_encoder,
}
"""A builder for each model that `reranker=` can name."""

FAMILIES = {
    "base": "encoder",
    "large": "encoder",
    "v2-m3": "encoder",
    "gemma": "llm",
    "minicpm-layerwise": "layerwise",
    "lightweight": "lightweight",
    "minilm": "encoder",
}
"""The family of each of them, as `oracle_scores` takes it."""

EMBEDDERS: dict[str, Builder] = {"bge-small-en": tiny_bert_embedder, "bge-m3": tiny_m3}


def build_all(root: Path) -> Iterator[Path]:
    """Write every reranker and embedder under `root`, one folder per name."""
    for name, build in (ALL | EMBEDDERS).items():
        yield build(root / name)
