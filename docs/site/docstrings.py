"""An extension of griffe: docstrings as frnet writes them, in the terms that mkdocstrings renders.

Formulas (``.. math::`` blocks and the ``math`` role) become MathML, which browsers draw without a script; other roles
become links where the site has the page; ``a, b: text`` becomes an entry for each of them; ``Example:`` becomes the
section of examples.
"""

from __future__ import annotations

import contextlib
import re
import textwrap
from html import escape

import griffe
from latex2mathml.converter import convert

_BLOCK = re.compile(r"^( *)\.\. math::[ ]*(.*)\n((?:\1 +.*\n|\s*\n)*)", re.MULTILINE)
_INLINE = re.compile(r":math:`([^`]+)`")
_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|obj|exc):`~?([^`]+)`")
_SOURCE = re.compile(r"^Source: (.*\n(?: +.*\n)*)", re.MULTILINE)  # as it stands, it would be a box with a title
_EXAMPLE = re.compile(r"^( *)Example:[ ]*$", re.MULTILINE)
_ENTRY_OF_SEVERAL = re.compile(r"^    ((?:[a-z_]\w*, )+[a-z_]\w*): (.*\n(?: {5,}.*\n)*)", re.MULTILINE)
_MARKDOWN = str.maketrans({character: f"&#{ord(character)};" for character in "*_[]`\\"})


class FrnetDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed; finds the functions whose file has their name."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        # ``from .crop import crop`` leaves the function under that name; read without running, it is the module's.
        modules = _modules(pkg)
        for alias in (member for module in modules for member in module.members.values() if member.is_alias):
            with contextlib.suppress(griffe.AliasResolutionError):  # what other packages define
                alias.resolve_target()
        for module in modules:
            for name in set(map(str, module.exports or ())) & module.members.keys():
                file = module.members[name]
                if isinstance(file, griffe.Module) and name in file.members:
                    module.set_member(name, file.members[name])

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value + "\n").rstrip()


def _modules(module: griffe.Module) -> list[griffe.Module]:
    below = [member for member in module.members.values() if isinstance(member, griffe.Module)]
    return [module, *(found for each in below for found in _modules(each))]


def rewritten(text: str) -> str:
    text = _BLOCK.sub(_block, text)
    text = _INLINE.sub(lambda found: _mathml(found[1], "inline"), text)
    text = _ROLE.sub(_link, text)
    text = _SOURCE.sub(lambda found: f"**Source**: {' '.join(found[1].split())}\n", text)
    text = _ENTRY_OF_SEVERAL.sub(_entries, text)
    return _EXAMPLE.sub(r"\1Examples:", text)


def _entries(found: re.Match[str]) -> str:
    """``a, b: text`` as an entry for each."""
    return "".join(f"    {name}: {found[2]}" for name in found[1].split(", "))


def _block(found: re.Match[str]) -> str:
    indent, formula = found[1], f"{found[2]}\n{textwrap.dedent(found[3])}".strip()
    if "&" in re.sub(r"\\begin\{cases\}.*?\\end\{cases\}", "", formula, flags=re.DOTALL):
        formula = rf"\begin{{split}}{formula}\end{{split}}"
    return f'{indent}<div class="formula">{_mathml(formula, "block")}</div>\n\n'


def _mathml(formula: str, display: str) -> str:
    return convert(" ".join(formula.split()), display=display).translate(_MARKDOWN)


def _link(found: re.Match[str]) -> str:
    name = found[1]
    if not name.startswith("frnet"):
        return f"`{name}`"
    short = name.rpartition(".")[2] if name.count(".") > 1 else name
    return f'<autoref optional identifier="{escape(name)}"><code>{escape(short)}</code></autoref>'
