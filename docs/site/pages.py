"""Hooks of mkdocs: the pages that GitHub shows as well, and a look at whether the API pages have everything."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}
_log = logging.getLogger("mkdocs.hooks.pages")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """README.md and CHANGELOG.md as pages, with links as they are from there."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text.replace("](CHANGELOG.md)", "](changelog.md)")))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """A warning, which --strict makes an error, for every public name that is on no page."""
    for page in sorted(Path(config.site_dir, "api").glob("*/index.html")):
        package, text = page.parent.name, page.read_text(encoding="utf-8")
        for name in public_names(ROOT / "frnet" / package / "__init__.py"):
            if f'id="frnet.{package}.{name}"' not in text and f"<code>{name}</code>" not in text:
                _log.warning("frnet.%s.%s is public, and docs/api/%s.md does not show it", package, name, package)


def public_names(file: Path) -> list[str]:
    """The names that a file's ``__all__`` spells out."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
    return []
