"""``frnet align``: photographs and videos in, faces out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from frnet.cli.console import attempt, complain, err, note
from frnet.cli.options import (
    Device,
    WhiteningFile,
    check_writable,
    detector_source,
    model_source,
    named_option,
    weights_source,
)

if TYPE_CHECKING:
    from frnet.align import FaceAligner, FileResult
    from frnet.align.outputs import ResultWriter
    from frnet.io.video import VideoReader

_LONGEST_LISTING = 3  # names of files in a folder that were passed over

Weights = Annotated[
    str,
    named_option(
        weights_source,
        "builtin|small|FILE",
        "The network: one that comes with frnet, .safetensors, or .pth of 3DDFA or 3DDFA_V2.",
        "--weights",
        "-w",
        envvar="FRNET_WEIGHTS",
    ),
]
Model = Annotated[
    str | None,
    named_option(
        model_source,
        "builtin|PATH",
        "Morphable model: .safetensors, .pkl, .mat, .npz or a folder; the built-in one for weights made for it.",
        "--model",
        "-m",
        envvar="FRNET_MODEL",
    ),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        exists=True, file_okay=False, envvar="FRNET_LANDMARKS", help="Folder of the landmark basis, for a grid .npz."
    ),
]
DetectorSource = Annotated[
    str,
    named_option(
        detector_source,
        "builtin|FILE",
        "What finds the faces: frnet's own, YuNet .onnx, or a Haar .xml on OpenCV 4.",
        "--detector",
        "-d",
        envvar="FRNET_DETECTOR",
    ),
]


def align(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Images, folders of images, videos; or a camera's number, as 0."),
    ],
    weights: Weights = "builtin",
    model: Model = None,
    detector: DetectorSource = "builtin",
    landmarks: Landmarks = None,
    whitening: WhiteningFile = None,
    passes: Annotated[
        int | None,
        typer.Option(
            min=1, help="How often the network looks at a face; by default twice, and once at a followed one."
        ),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score of a face; by default the detector's.")
    ] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", "-o", file_okay=False, help="Folder of results.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="NAME.json; without --out, lines on stdout.")] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="NAME_overlay.jpg, .mp4 for a video.")] = False,
    obj: Annotated[bool, typer.Option("--obj", help="NAME_0.obj and so on, a mesh per face.")] = False,
    ply: Annotated[bool, typer.Option("--ply", help="NAME_0.ply and so on, a mesh per face.")] = False,
    redetect: Annotated[int, typer.Option(min=1, help="Frames of a video between detections.")] = 30,
    batch: Annotated[int, typer.Option(min=1, help="Images whose faces make one batch.")] = 16,
    device: Device = "cpu",
) -> None:
    """Align every face in photographs or videos.

    'frnet photo.jpg' is short for 'frnet align photo.jpg'. With --out and no kind of file named, JSON and overlays are
    written. Ctrl-C ends a camera's video.

    Exit status: 0 if every file was read, faces or not; 1 if any was not; 2 for a wrong command line.
    """
    if out_dir is None and (overlay or obj or ply):
        raise typer.BadParameter("--overlay, --obj and --ply write files: also give --out DIR")
    if out_dir is not None:
        check_writable(out_dir, "--out", create=True)

    from frnet.io.inputs import expand_inputs
    from frnet.io.video import VideoReader

    images, sources, problems = expand_inputs(inputs)
    _say_skipped(inputs)
    for problem in problems:
        complain(problem)
    failures = len(problems)
    videos = [source for source in sources if isinstance(source, Path)]
    for number in (source for source in sources if isinstance(source, int)):
        failures += not attempt(lambda number=number: videos.append(VideoReader(number)))
    if not images and not videos:
        raise typer.Exit(1)

    from frnet.align import FaceAligner, align_files, open_detector
    from frnet.align.outputs import ResultWriter, Wanted
    from frnet.morphable import open_morphable

    aligner = FaceAligner(
        weights,
        model if model is None or landmarks is None else open_morphable(model, landmarks),
        whitening=whitening,
        detector=open_detector(detector, min_score),
        passes=passes,
        device=device,
    )
    if (obj or ply) and not len(aligner.triangles):
        raise typer.BadParameter(f"--obj and --ply need triangles, and {model} has none")
    note(f"whitening: {aligner.whitening_source}")
    writer = None
    if out_dir is not None:
        some = json_ or overlay or obj or ply
        writer = ResultWriter(out_dir, Wanted(json_ or not some, overlay or not some, obj, ply), aligner.triangles)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("images", total=len(images), visible=len(images) > 1)
        for result in align_files(aligner, images, batch):
            failures += not _finish(result, writer, json_)
            progress.advance(task)
        for video in videos:
            path = video if isinstance(video, Path) else video.path
            files = writer.video_files(path) if writer else (None, sys.stdout if json_ else None)
            tick = _ticker(progress, path.name)
            failures += not attempt(lambda v=video, f=files, t=tick: _video(aligner, v, f, redetect, t))
    if failures:
        raise typer.Exit(1)


def _say_skipped(inputs: list[str]) -> None:
    """Files of folders that no suffix makes images or videos."""
    from frnet.io.inputs import unknown_files

    for folder in filter(Path.is_dir, map(Path, inputs)):
        names = [path.name for path in unknown_files(folder)]
        if names:
            more = f" and {len(names) - _LONGEST_LISTING} more" if len(names) > _LONGEST_LISTING else ""
            note(f"{folder}: no image or video by its name: {', '.join(names[:_LONGEST_LISTING])}{more}")


def _finish(result: FileResult, writer: ResultWriter | None, as_json: bool) -> bool:
    """Report one image and write its results; False if it failed."""
    if result.error is not None:
        complain(result.error)
        return False
    if not result.faces:
        note(f"{result.path}: no face found")
    for index, face in enumerate(result.faces):
        yaw, pitch, roll = face.pose
        score = "" if face.score is None else f", score {face.score:.2f}"
        note(f"{result.path}: face {index}, yaw {yaw:.1f}, pitch {pitch:.1f}, roll {roll:.1f} degrees{score}")
    if writer is not None:
        return attempt(lambda: writer.write(result.path, result.image, result.faces))
    if as_json:
        print(json.dumps({"image": str(result.path), "faces": [face.to_dict() for face in result.faces]}))
    return True


def _video(
    aligner: FaceAligner, video: Path | VideoReader, files: tuple, redetect: int, tick: Callable[[int, int], None]
) -> None:
    from frnet.align import align_video

    frames = align_video(aligner, video, *files, redetect_every=redetect, progress=tick)
    note(f"{video if isinstance(video, Path) else video.path}: {frames} frames")


def _ticker(progress: Progress, name: str) -> Callable[[int, int], None]:
    task = progress.add_task(escape(name), total=None)
    return lambda done, total: progress.update(task, completed=done, total=total or None)
