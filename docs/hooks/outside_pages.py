"""Takes pages that live outside docs/ into the site, and makes links between files lead there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")
PAGES = {
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "src/rerankbench/collections/sample/README.md": "studies/sample-collection.md",
    **{
        f"experiments/{readme.parent.name}/README.md": f"studies/{readme.parent.name}.md"
        for readme in sorted((ROOT / "experiments").glob("*/README.md"))
    },
}
PICTURES = {
    str(file.relative_to(ROOT)): f"studies/{file.name}"
    for file in sorted((ROOT / "experiments").glob("*/*.png"))
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, uri in {**PAGES, **PICTURES}.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they lead on the disk become links between the site's pages; the README is the front page."""
    places = {uri: source for source, uri in PAGES.items()}
    source = places.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if target != "README.md" and not (ROOT / target).is_file():
            return match[1]  # left to mkdocs, which fails on a link that leads nowhere
        uri = {**PAGES, **PICTURES, "README.md": "index.md"}.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(site, markdown)
