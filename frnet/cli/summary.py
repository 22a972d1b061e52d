"""``frnet summary``: what networks cost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import typer
from rich.table import Column, Table

from frnet.cli.console import complain, print_whole, right


def summary(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A network of the registry, or 'all'.")],
    layers: Annotated[bool, typer.Option(help="Also every layer.")] = True,
) -> None:
    """Parameters and multiply-adds of a network, layer by layer, beside the published ones, and ops of a forward."""
    from frnet.models import complexity, count_ops, create_model, list_models
    from frnet.models.published import PUBLISHED

    costs, ops = {}, {}
    for each in list_models() if name == "all" else [name]:
        try:
            model = create_model(each).eval()
        except ImportError as error:  # torchvision's networks without torchvision
            complain(error)
            continue
        costs[each] = complexity(model)
        ops[each] = count_ops(model), count_ops(model.fuse())
    if layers and name in costs:
        table = Table("layer", "kind", "output", *right("parameters", "multiply-adds"))
        for layer in costs[name].layers:
            shape = "x".join(map(str, layer.output))
            table.add_row(layer.name, layer.kind, shape, f"{layer.params:,}", f"{layer.macs:,}")
        print_whole(table)
    headers = right("parameters, M", "published", "multiply-adds, G", "published", "ops", "ops, fused")
    table = Table(Column("network", no_wrap=True), *headers)
    for each, cost in costs.items():
        known = PUBLISHED.get(each)
        theirs = ("", "") if known is None else (f"{known.params:.2f}", f"{known.macs:.3f}")
        counts = map(str, ops[each])
        table.add_row(each, f"{cost.params / 1e6:.3f}", theirs[0], f"{cost.macs / 1e9:.4f}", theirs[1], *counts)
    print_whole(table)
    _print_weights(costs)
    if not costs:
        raise typer.Exit(1)


def _print_weights(networks: Collection[str]) -> None:
    """The weights that come with frnet for these networks."""
    from frnet.models import complexity, load_checkpoint
    from frnet.weights import builtin_weights

    headers = right("input, px", "parameters, M", "multiply-adds, G", "file, MB")
    table = Table(Column("weights", no_wrap=True), Column("network", no_wrap=True), *headers, title="come with frnet")
    for name, path in builtin_weights().items():
        checkpoint = load_checkpoint(name)
        if checkpoint.architecture in networks:
            cost, size = complexity(checkpoint.model), path.stat().st_size
            figures = (f"{cost.params / 1e6:.3f}", f"{cost.macs / 1e9:.4f}", f"{size / 1e6:.1f}")
            table.add_row(name, checkpoint.architecture, str(checkpoint.input_size), *figures)
    if table.row_count:
        print_whole(table)
