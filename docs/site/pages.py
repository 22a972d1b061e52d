"""Hooks of mkdocs: the pages that GitHub shows as well, and a look at whether the API pages have everything."""

from __future__ import annotations

import ast
import logging
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "weights.md": "frnet/weights/data/mobile_frnet.md",
    "weights-small.md": "frnet/weights/data/mobile_frnet_small.md",
    "builtin-face.md": "frnet/morphable/data/builtin_face.md",
}
_log = logging.getLogger("mkdocs.hooks.pages")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files beside docs as pages, with links to one another and to docs as they are from there."""
    pages = {(ROOT / source).resolve(): page for page, source in PAGES.items()}
    for page, source in PAGES.items():
        folder = (ROOT / source).parent

        def link(found: re.Match[str], folder: Path = folder) -> str:
            target = (folder / found[1]).resolve()
            if target in pages:
                return f"]({pages[target]}"
            return f"]({target.relative_to(ROOT / 'docs')}" if target.is_relative_to(ROOT / "docs") else found[0]

        text = re.sub(r"\]\(([^()#:\s]+)", link, (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """A warning, which --strict makes an error, for every public name that is on no page."""
    for page in sorted(Path(config.site_dir, "api").glob("*/index.html")):
        package, text = page.parent.name, page.read_text(encoding="utf-8")
        module = ROOT / "frnet" / package
        for name in public_names(module / "__init__.py" if module.is_dir() else module.with_suffix(".py")):
            if f'id="frnet.{package}.{name}"' not in text and f"<code>{name}</code>" not in text:
                _log.warning("frnet.%s.%s is public, and docs/api/%s.md does not show it", package, name, package)


def public_names(file: Path) -> list[str]:
    """The names that a file's ``__all__`` spells out."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
    return []
