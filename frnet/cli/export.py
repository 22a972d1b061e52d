"""``frnet export``: a checkpoint as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frnet.cli.console import require, say
from frnet.cli.options import Landmarks, check_writable, model_source, named_option, weights_source

Model = Annotated[
    str | None,
    named_option(
        model_source,
        "builtin|PATH",
        "Morphable model: the file then also gives landmarks and vertices.",
        "--model",
        "-m",
    ),
]


def export(
    src: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT", parser=weights_source, help="builtin, small, .safetensors or .pth of 3DDFA."
        ),
    ],
    dst: Annotated[Path, typer.Argument(metavar="OUT", dir_okay=False, help="The .onnx file to write.")],
    model: Model = None,
    landmarks: Landmarks = None,
) -> None:
    """Write a network as an ONNX file of standard operators, its batch normalisations folded.

    With --model its output is decoded too, with the whitening that belongs to the checkpoint.
    """
    if dst.suffix != ".onnx":
        raise typer.BadParameter(f"{dst} must end in .onnx")
    check_writable(dst.parent, "OUT")
    require("onnxscript", "frnet export", "export")

    from frnet.export import to_onnx
    from frnet.morphable import open_morphable
    from frnet.weights import load_checkpoint

    checkpoint = load_checkpoint(src)
    morphable = None if model is None else open_morphable(model, landmarks)
    to_onnx(checkpoint, dst, morphable)
    size, pixels = checkpoint.input_size, checkpoint.normalisation
    decoded = "" if morphable is None else ", landmarks and vertices in pixels of the crop"
    say(
        f"{dst}: {checkpoint.architecture}; crops [batch, 3, {size}, {size}], {pixels.channel_order}, "
        f"(pixel - {pixels.mean:g}) / {pixels.scale:g}, to {checkpoint.num_params} parameters{decoded}"
    )
