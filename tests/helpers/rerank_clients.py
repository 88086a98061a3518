"""Clients of others against a service, unchanged but for its address, in an environment that has them.

    python rerank_clients.py URL MODEL < {"query": ..., "documents": [...]}

Prints, for each client that is installed, what it makes of the answer: {NAME: [[text, score], ...]}.
"""

import json
import sys
from collections.abc import Callable

Found = list[tuple[str, float]]


def cohere(url: str, model: str, query: str, documents: list[str]) -> Found:
    import cohere

    found = cohere.ClientV2(api_key="none", base_url=url).rerank(
        model=model, query=query, documents=documents
    )
    return [(documents[each.index], each.relevance_score) for each in found.results]


def langchain_cohere(url: str, model: str, query: str, documents: list[str]) -> Found:
    import cohere
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    client = cohere.ClientV2(api_key="none", base_url=url)
    ranker = CohereRerank(client=client, model=model, top_n=2)
    found = ranker.compress_documents([Document(page_content=text) for text in documents], query)
    return [(each.page_content, each.metadata["relevance_score"]) for each in found]


def langchain_jina(url: str, model: str, query: str, documents: list[str]) -> Found:
    from langchain_community.document_compressors import jina_rerank
    from langchain_core.documents import Document

    jina_rerank.JINA_API_URL = f"{url}/v1/rerank"
    ranker = jina_rerank.JinaRerank(jina_api_key="none", model=model, top_n=2)
    found = ranker.compress_documents([Document(page_content=text) for text in documents], query)
    return [(each.page_content, each.metadata["relevance_score"]) for each in found]


def nodes(documents: list[str]) -> list:
    from llama_index.core.schema import NodeWithScore, TextNode

    return [NodeWithScore(node=TextNode(text=text), score=0.0) for text in documents]


def llama_index(ranker: object, query: str, documents: list[str]) -> Found:
    found = ranker.postprocess_nodes(nodes(documents), query_str=query)
    return [(each.node.text, each.score) for each in found]


def llama_index_cohere(url: str, model: str, query: str, documents: list[str]) -> Found:
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return llama_index(CohereRerank(base_url=url, api_key="none", model=model, top_n=2), query, documents)


def llama_index_jina(url: str, model: str, query: str, documents: list[str]) -> Found:
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    ranker = JinaRerank(base_url=f"{url}/v1", api_key="none", model=model, top_n=2)
    return llama_index(ranker, query, documents)


def llama_index_tei(url: str, model: str, query: str, documents: list[str]) -> Found:
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    return llama_index(TextEmbeddingInference(base_url=url, top_n=2), query, documents)


def langchain_infinity(url: str, model: str, query: str, documents: list[str]) -> Found:
    from infinity_client.client import Client
    from langchain_community.document_compressors.infinity_rerank import InfinityRerank
    from langchain_core.documents import Document

    ranker = InfinityRerank(client=Client(base_url=url), model=model, top_n=2)
    found = ranker.compress_documents([Document(page_content=text) for text in documents], query)
    return [(each.page_content, each.metadata["relevance_score"]) for each in found]


def haystack(ranker: object, query: str, documents: list[str]) -> Found:
    from haystack import Document

    if hasattr(ranker, "warm_up"):
        ranker.warm_up()
    found = ranker.run(query=query, documents=[Document(content=text) for text in documents], top_k=2)
    return [(each.content, each.score) for each in found["documents"]]


def haystack_cohere(url: str, model: str, query: str, documents: list[str]) -> Found:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    ranker = CohereRanker(model=model, api_key=Secret.from_token("none"), api_base_url=url)
    return haystack(ranker, query, documents)


def haystack_jina(url: str, model: str, query: str, documents: list[str]) -> Found:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker

    ranker = JinaRanker(model=model, api_key=Secret.from_token("none"), base_url=f"{url}/v1/rerank")
    return haystack(ranker, query, documents)


def haystack_tei(url: str, model: str, query: str, documents: list[str]) -> Found:
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    return haystack(HuggingFaceTEIRanker(url=url, raw_scores=True), query, documents)


CLIENTS: tuple[Callable[[str, str, str, list[str]], Found], ...] = (
    cohere, langchain_cohere, langchain_jina, langchain_infinity, llama_index_cohere, llama_index_jina,
    llama_index_tei, haystack_cohere, haystack_jina, haystack_tei,
)  # fmt: skip


def told(url: str, model: str, query: str, documents: list[str]) -> dict[str, Found | str]:
    """What each client finds, or in words why it does not."""
    found: dict[str, Found | str] = {}
    for client in CLIENTS:
        try:
            found[client.__name__] = client(url, model, query, documents)
        except ModuleNotFoundError as error:
            found[client.__name__] = f"not installed: {error.name}"
        except Exception as error:
            found[client.__name__] = f"failed: {type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    json.dump(told(*sys.argv[1:], **json.load(sys.stdin)), sys.stdout)
