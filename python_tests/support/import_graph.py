"""Which part of frnet imports which: ``python python_tests/support/import_graph.py`` prints it.

Parts stand in layers, each of which may import those below it and none beside or above it. Imports inside functions
count as well: they are loaded later, not from elsewhere.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

LAYERS = (
    ("cli",),
    ("train",),
    ("evaluate", "align", "export"),
    ("weights", "datasets"),
    ("render",),
    ("models",),
    ("nn",),
    ("ops",),
    ("morphable",),
    ("geometry",),
    ("io",),
)
# Parts without a layer, which anything may ask for: facts about the installation, and what imports the core at most.
EVERYWHERE = ("_core", "env", "late", "runtime")
# Names that are wanted where they stood before, and are looked up there when somebody asks for them.
LATE_NAMES = {("frnet.models", "frnet.weights")}


class Import(NamedTuple):
    """One import of a module of frnet by another, both as dotted names."""

    importer: str
    imported: str


def imports(package: Path) -> list[Import]:
    """Every import of a module of the package by a module of the package, sorted, each pair once."""
    modules = {_name(path, package): path for path in sorted(package.rglob("*.py"))}
    found = set()
    for module, path in modules.items():
        parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for name in _imported(node, parent):
                if name.split(".")[0] == package.name:
                    found.add(Import(module, _existing(name, modules)))
    return sorted(found)


def part(module: str) -> str:
    """The part of frnet a module belongs to: ``align`` of ``frnet.align.aligner``; empty for ``frnet`` itself."""
    return [*module.split("."), ""][1]


def between_parts(found: list[Import]) -> dict[str, dict[str, list[Import]]]:
    """Imports by the importing part and the imported one; those inside a part are left out."""
    graph: dict[str, dict[str, list[Import]]] = defaultdict(lambda: defaultdict(list))
    for each in found:
        importer, imported = part(each.importer), part(each.imported)
        if importer != imported and "" not in (importer, imported):
            graph[importer][imported].append(each)
    return graph


def against_the_layers(found: list[Import]) -> list[Import]:
    """Imports that go up or sideways, and those of a part that stands in no layer."""
    level = {name: depth for depth, names in enumerate(LAYERS) for name in names}
    wrong = []
    for importer, targets in between_parts(found).items():
        for imported, each in targets.items():
            known = importer in level and imported in level
            if (
                imported not in EVERYWHERE
                and importer != "__main__"
                and not (known and level[importer] < level[imported])
            ):
                wrong += each
    return wrong


def circles(found: list[Import]) -> list[list[str]]:
    """Groups of modules that import one another in a circle (Tarjan's strongly connected components)."""
    targets = defaultdict(set)
    for each in found:
        targets[each.importer].add(each.imported)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(targets[module]):
            if target not in index:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for module in sorted(targets):
        if module not in index:
            visit(module)
    return groups


def _name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(node: ast.AST, parent: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = parent.split(".")[: len(parent.split(".")) - node.level + 1] if node.level else []
    base += node.module.split(".") if node.module else []
    return [".".join([*base, alias.name]) for alias in node.names]


def _existing(name: str, modules: dict[str, Path]) -> str:
    """The module that is loaded for ``from module import name``: the name itself, or what holds it."""
    while name not in modules and name.count(".") > 1:
        shorter = name.rpartition(".")[0]
        if shorter in modules or shorter.count(".") < 1:
            return shorter
        name = shorter
    return name


def main() -> None:
    import frnet

    found = imports(Path(frnet.__file__).parent)
    graph = between_parts(found)
    for names in LAYERS:
        for name in names:
            targets = ", ".join(f"{target} ({len(each)})" for target, each in sorted(graph.get(name, {}).items()))
            sys.stdout.write(f"{name:10} -> {targets or 'nothing'}\n")
    for each in against_the_layers(found):
        sys.stdout.write(f"against the layers: {each.importer} imports {each.imported}\n")
    for group in circles(found):
        sys.stdout.write(f"in a circle: {', '.join(group)}\n")


if __name__ == "__main__":
    main()
