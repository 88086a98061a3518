"""LangChain's and Cohere's own clients against a service, in an environment that has them.

    python cohere_client.py URL MODEL < {"query": ..., "documents": [...]}

Prints {"cohere": [[index, score], ...], "langchain": [[text, score], ...]}.
"""

import json
import sys

import cohere
from langchain_cohere import CohereRerank
from langchain_core.documents import Document

url, model = sys.argv[1:]
asked = json.load(sys.stdin)
client = cohere.ClientV2(api_key="none", base_url=url)
found = client.rerank(model=model, query=asked["query"], documents=asked["documents"])
compressor = CohereRerank(client=client, model=model, top_n=2)
documents = [Document(page_content=text) for text in asked["documents"]]
ranked = compressor.compress_documents(documents, asked["query"])
told = {
    "cohere": [[each.index, each.relevance_score] for each in found.results],
    "langchain": [[each.page_content, each.metadata["relevance_score"]] for each in ranked],
}
json.dump(told, sys.stdout)
