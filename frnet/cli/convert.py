"""``frnet convert``: checkpoints of other projects into safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frnet.cli.console import say
from frnet.cli.options import Landmarks, WhiteningFile, check_writable

TrainedFor = Annotated[
    Path | None,
    typer.Option("--model", "-m", exists=True, help="Morphable model the weights were trained for, to be remembered."),
]


def convert(
    src: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Checkpoint of 3DDFA or 3DDFA_V2.")],
    dst: Annotated[Path, typer.Argument(dir_okay=False, help="The .safetensors file to write.")],
    whitening: WhiteningFile = None,
    licence: Annotated[str | None, typer.Option(help="What the weights may be used for, to be stored.")] = None,
    model: TrainedFor = None,
    landmarks: Landmarks = None,
) -> None:
    """Turn a checkpoint into safetensors, its whitening included, and with --model what its basis is known by."""
    check_writable(dst.parent, "DST")

    from frnet.weights import convert as convert_checkpoint

    morphable = None
    if model is not None:
        from frnet.morphable import open_morphable

        morphable = open_morphable(model, landmarks)
    result = convert_checkpoint(src, dst, whitening=whitening, licence=licence, morphable=morphable)
    held = "with its whitening" if result.whitening is not None else "without whitening: none was given or found"
    basis = "" if result.basis is None else f", trained with the basis {result.basis}"
    say(f"{dst}: {result.architecture}, {result.num_params} parameters, {held}{basis}")
