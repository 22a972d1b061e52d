"""``frnet train``: a configuration in, a trained network out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frnet.cli.console import complain, err, out, say


def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A .yaml file, or the name of one that comes with frnet, as 'tiny'.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="SETTING=VALUE", help="As data.root=300W_LP; may be repeated."),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", "-o", file_okay=False, help="Folder of the run; runs/CONFIG by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Print the configuration with all its settings; no more.")
    ] = False,
) -> None:
    """Train a network: weights, curves and pictures for TensorBoard, and the state to go on from go to --out.

    Several processes: hardware.devices, or start it with torchrun. Ctrl-C stops it between two steps.

    Exit status: 0 when it is done; 1 for an error; 130 if it was stopped, and can go on.
    """
    try:
        from frnet.train import dump_config, load_config
        from frnet.train import train as run
    except ModuleNotFoundError as error:
        complain(f"frnet train needs {error.name}: pip install 'frnet[train]'")
        raise typer.Exit(1) from None

    try:
        loaded = load_config(config, settings or [])
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error)) from None
    if show:
        out.print(dump_config(loaded), markup=False, highlight=False, soft_wrap=True, end="")
        return
    result = run(loaded, out_dir or Path("runs") / Path(config).stem, resume=resume, console=err)
    if not result.finished:
        raise typer.Exit(130)
    if result.leads:
        say(f"lowest NME {result.best_nme_percent:.3f} %; weights: {result.folder.best}, {result.folder.last}")
