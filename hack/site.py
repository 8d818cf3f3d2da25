"""Hooks of the documentation site (mkdocs.yml): pages that stand outside docs/, and links that leave it.

README.md and its like stand at the root of the repository, where people look for them. The site shows them too. A link
to a file that is no page of the site leads to the file in the repository; one to a file that does not exist is an error.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# Pages of the site, by their path in the repository.
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r'(\]\(|\b(?:href|src)=")([^)"\s]+)')
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside docs/."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(
    markdown: str, *, page: Page, config: MkDocsConfig, files: Files, **_: Any
) -> str:
    """Rewrite the links of a page, which are relative to its place in the repository."""
    uri = page.file.src_uri
    source = next((x for x, name in OUTSIDE.items() if name == uri), f"docs/{uri}")
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_rewritten(markdown[end : fence.start()], source, uri, config), fence[0]]
        end = fence.end()
    return "".join([*parts, _rewritten(markdown[end:], source, uri, config)])


def _rewritten(text: str, source: str, uri: str, config: MkDocsConfig) -> str:
    def link(found: re.Match[str]) -> str:
        return found[1] + _target(found[2], source, uri, config)

    return _LINK.sub(link, text)


def _target(target: str, source: str, uri: str, config: MkDocsConfig) -> str:
    path, mark, anchor = target.partition("#")
    if not path or "://" in target or target.startswith("mailto:"):
        return target
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if not (ROOT / file).exists():
        raise PluginError(f"{source} links to {target}, which does not exist")
    folder = (ROOT / file).is_dir()
    page = OUTSIDE.get(posixpath.join(file, "README.md") if folder else file)
    if page is None and file.startswith("docs/") and not folder:
        page = file.removeprefix("docs/")
    if page is None:
        return f"{config.extra['repository']}{file}{mark}{anchor}"
    return posixpath.relpath(page, posixpath.dirname(uri) or ".") + mark + anchor
