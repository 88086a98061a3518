"""Addresses of servers: whether they can be one, and hold nothing that is secret."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import httpx

from rerankbench.basics.masking import SECRET, SETTINGS


def url_problems(url: str) -> list[str]:
    """Why this is no address of a server; a missing one is told elsewhere."""
    if url == "???":
        return []
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        return ["no address; give http://HOST:PORT or https://HOST"]
    del port  # it is a number, or nothing was given
    if parts.scheme not in ("http", "https") or not host:
        return ["give an address such as http://127.0.0.1:8080 or https://HOST"]
    if "@" in parts.netloc:
        return [
            "holds a user or a password; put what it needs into an environment variable, "
            "and name that by reranker.key_variable=NAME"
        ]
    if holds_secret(url):
        return [
            "holds a key; put it into an environment variable, and name that by reranker.key_variable=NAME"
        ]
    if parts.query or parts.fragment:
        return ["has settings behind ? or #; give them with reranker.path"]
    return []


def holds_secret(address: str) -> bool:
    """Whether an address has a setting whose name says that it is a secret."""
    return any(SECRET.search(part.partition("=")[0]) for part in SETTINGS.split(address)[2::2])


def stays_here(url: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether a name or number of a host stands for this machine, and is heard by it alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
