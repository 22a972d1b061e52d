"""The ``frnet`` command, a thin skin over :mod:`frnet.align`, ``evaluate``, ``train`` and ``models``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

if TYPE_CHECKING:
    from frnet.align import FaceAligner, FileResult
    from frnet.align.outputs import ResultWriter
    from frnet.evaluate.command import Report

app = typer.Typer(help="3D face alignment.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out, err = Console(), Console(stderr=True)


def _file(help_text: str, *names: str):
    return typer.Option(*names, exists=True, dir_okay=False, help=help_text)


Weights = Annotated[Path, _file("Checkpoint: .pth of 3DDFA or 3DDFA_V2, or .safetensors.", "--weights", "-w")]
Model = Annotated[
    Path,
    typer.Option("--model", "-m", exists=True, help="Morphable model: .safetensors, .pkl, .mat, .npz or a folder."),
]
TrainedFor = Annotated[
    Path | None,
    typer.Option("--model", "-m", exists=True, help="Morphable model the weights were trained for, to be remembered."),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder of the landmark basis, for a grid .npz."),
]
WhiteningFile = Annotated[Path | None, _file("Whitening .pkl; by default the one that comes with the weights.")]
DetectorFile = Annotated[Path | None, _file("YuNet .onnx, or a Haar .xml on OpenCV 4.", "--detector", "-d")]
Device = Annotated[str, typer.Option(help="Where the network runs, such as cpu or cuda.")]


@app.command()
def align(
    inputs: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images, folders of images, videos.")],
    weights: Weights,
    model: Model,
    detector: DetectorFile = None,
    landmarks: Landmarks = None,
    whitening: WhiteningFile = None,
    passes: Annotated[int, typer.Option(min=1, help="How often the network looks at a face.")] = 2,
    min_score: Annotated[float | None, typer.Option(help="Least score of a face; 0.8 by default.")] = None,
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

    With --out and no kind of file named, JSON and overlays are written.

    Exit status: 0 if every file was read, faces or not; 1 if any was not; 2 for a wrong command line.
    """
    from frnet.align import FaceAligner, align_files, expand_inputs, open_detector
    from frnet.align.outputs import ResultWriter, Wanted
    from frnet.morphable import open_morphable

    if out_dir is None and (overlay or obj or ply):
        raise typer.BadParameter("--overlay, --obj and --ply write files: also give --out DIR")
    if detector is None:
        raise typer.BadParameter("faces have to be found first: give --detector FILE (a YuNet .onnx)")
    aligner = FaceAligner(
        weights,
        open_morphable(model, landmarks),
        whitening=whitening,
        detector=open_detector(detector, min_score),
        passes=passes,
        device=device,
    )
    if (obj or ply) and not len(aligner.triangles):
        raise typer.BadParameter(f"--obj and --ply need triangles, and {model} has none")
    err.print(f"whitening: {escape(aligner.whitening_source)}", highlight=False, soft_wrap=True)
    writer = None
    if out_dir is not None:
        out_dir.mkdir(parents=True, exist_ok=True)
        some = json_ or overlay or obj or ply
        writer = ResultWriter(out_dir, Wanted(json_ or not some, overlay or not some, obj, ply), aligner.triangles)
    images, videos, problems = expand_inputs(inputs)
    for problem in problems:
        _complain(problem)
    failures = len(problems)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("images", total=len(images), visible=len(images) > 1)
        for result in align_files(aligner, images, batch):
            failures += not _finish(result, writer, json_)
            progress.advance(task)
        for path in videos:
            files = writer.video_files(path) if writer else (None, sys.stdout if json_ else None)
            tick = _ticker(progress, path.name)
            failures += not _try(lambda p=path, f=files, t=tick: _video(aligner, p, f, redetect, t))
    if failures:
        raise typer.Exit(1)


def _finish(result: FileResult, writer: ResultWriter | None, as_json: bool) -> bool:
    """Report one image and write its results; False if it failed."""
    if result.error is not None:
        _complain(result.error)
        return False
    if not result.faces:
        err.print(f"{escape(str(result.path))}: no face found", highlight=False, soft_wrap=True)
    for index, face in enumerate(result.faces):
        yaw, pitch, roll = face.pose
        score = "" if face.score is None else f", score {face.score:.2f}"
        text = f"{result.path}: face {index}, yaw {yaw:.1f}, pitch {pitch:.1f}, roll {roll:.1f} degrees{score}"
        err.print(escape(text), highlight=False, soft_wrap=True)
    if writer is not None:
        return _try(lambda: writer.write(result.path, result.image, result.faces))
    if as_json:
        print(json.dumps({"image": str(result.path), "faces": [face.to_dict() for face in result.faces]}))
    return True


def _video(aligner: FaceAligner, path: Path, files: tuple, redetect: int, tick: Callable[[int, int], None]) -> None:
    from frnet.align import align_video

    frames = align_video(aligner, path, *files, redetect_every=redetect, progress=tick)
    err.print(f"{escape(str(path))}: {frames} frames", highlight=False, soft_wrap=True)


def _ticker(progress: Progress, name: str) -> Callable[[int, int], None]:
    task = progress.add_task(escape(name), total=None)
    return lambda done, total: progress.update(task, completed=done, total=total or None)


_NETWORK, _PROTOCOL, _OUTPUT = "A network", "Protocol", "Output"
_LONGEST_LISTING = 50  # images; what is beyond it is in per_image.csv alone


def _panel(panel: str, help_text: str, *names: str, **checks):
    return typer.Option(*names, help=help_text, rich_help_panel=panel, **checks)


def _panel_file(panel: str, help_text: str, *names: str):
    return _panel(panel, help_text, *names, exists=True, dir_okay=False)


def _panel_folder(panel: str, help_text: str, *names: str):
    return _panel(panel, help_text, *names, exists=True, file_okay=False)


@app.command()
def evaluate(
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH",
            exists=True,
            file_okay=False,
            help="AFLW2000-3D: images and .mat files; or 3DDFA's folder test.configs.",
        ),
    ],
    weights: Annotated[Path | None, _panel_file(_NETWORK, "Checkpoint.", "--weights", "-w")] = None,
    model: Annotated[
        Path | None, _panel(_NETWORK, "Morphable model; also for params of a file.", "--model", "-m", exists=True)
    ] = None,
    landmarks: Annotated[Path | None, _panel_folder(_NETWORK, "Folder of the landmark basis, for a grid .npz.")] = None,
    whitening: Annotated[Path | None, _panel_file(_NETWORK, "Whitening .pkl, if not that of the weights.")] = None,
    detector: Annotated[
        Path | None, _panel_file(_NETWORK, "Also with its boxes and two passes.", "--detector", "-d")
    ] = None,
    device: Annotated[str, _panel(_NETWORK, "Where it runs, such as cpu or cuda.")] = "cpu",
    name: Annotated[str | None, _panel(_NETWORK, "What tables call it; the weights' file name by default.")] = None,
    crops: Annotated[Path | None, _panel_folder(_NETWORK, "With test.configs: its 120x120 crops.")] = None,
    crop_list: Annotated[
        Path | None, _panel_file(_NETWORK, "With test.configs: names of the crops in order; else sorted.", "--list")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            "--predictions",
            "-p",
            exists=True,
            dir_okay=False,
            help="Another method's .npz (docs/evaluation.md); may be repeated.",
        ),
    ] = None,
    data: Annotated[str, _panel(_PROTOCOL, "Of test.configs: aflw2000 or aflw.")] = "aflw2000",
    annotation: Annotated[str, _panel(_PROTOCOL, "Of test.configs: original, reannotated or all.")] = "original",
    split: Annotated[str, _panel(_PROTOCOL, "Of test.configs, whose yaw makes the bins: pose, new or all.")] = "pose",
    roi: Annotated[str, _panel(_PROTOCOL, "Ground-truth crop: exact, 3ddfa-compat or both.")] = "both",
    coordinates: Annotated[
        str, _panel(_PROTOCOL, "as-stored: 0-based against 1-based, as is usual; or matched.")
    ] = "as-stored",
    dense_truth: Annotated[Path | None, _panel_file(_PROTOCOL, "True meshes, .npz: also dense NME.")] = None,
    bootstrap: Annotated[int, _panel(_PROTOCOL, "Resamples for 95 % intervals; 0: none.", min=0)] = 1000,
    seed: Annotated[int, _panel(_PROTOCOL, "Of the resamples.", min=0)] = 0,
    reference: Annotated[
        Path | None, _panel_file(_PROTOCOL, "Landmarks to compare ours with: .npz of names, landmarks68.")
    ] = None,
    out_dir: Annotated[
        Path | None,
        _panel(_OUTPUT, "Folder for table, CSV, JSON, curves, sheets.", "--out", "-o", file_okay=False),
    ] = None,
    worst: Annotated[int, _panel(_OUTPUT, "Faces on the contact sheets of --out; 0: none.", min=0)] = 24,
) -> None:
    """NME on AFLW2000-3D or AFLW, in the published table, of a network or of any method's predictions.

    A row for each rule by which crops are cut, and the protocol of every row under the table.
    """
    from frnet.evaluate.command import Request, RequestError, run
    from frnet.evaluate.report import report_tables, write_report

    request = Request(
        truth=truth,
        weights=weights,
        model=model,
        landmarks=landmarks,
        whitening=whitening,
        detector=detector,
        device=device,
        predictions=tuple(predictions or ()),
        crops=crops,
        crop_list=crop_list,
        data=data,
        annotation=annotation,
        split=split,
        roi=roi,
        coordinates=coordinates,
        dense_truth=dense_truth,
        reference=reference,
        bootstrap=bootstrap,
        seed=seed,
        name=name,
    )
    try:
        report = run(request)
    except RequestError as error:
        raise typer.BadParameter(str(error)) from None
    if report.whitening is not None:
        err.print(f"whitening: {escape(report.whitening)}", highlight=False, soft_wrap=True)
    if report.evaluations:
        _print_whole(_image_table(report))
    for table in report_tables(report):
        printed = Table(*table.header[:1], *_right(*table.header[1:]), title=table.title)
        for row in table.rows:
            printed.add_row(*map(escape, row))
        _print_whole(printed)
        for mark, text in table.notes.items():
            out.print(f"[{mark}] {text}", markup=False, highlight=False, soft_wrap=True)
    for index, evaluation in report.evaluations.items():
        if evaluation.missed:
            names = evaluation.missed[:_LONGEST_LISTING]
            count = f"{len(evaluation.missed)} of {len(evaluation.names)} images"
            missed = f"no face in {count} ({', '.join(names)}); the means leave them out"
            out.print(f"{report.results[index].method}: {missed}", markup=False, soft_wrap=True)
    for note in report.notes:
        err.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    if out_dir is not None:
        for path in write_report(out_dir, report, worst):
            err.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)


def _print_whole(table: Table) -> None:
    """Also where it is wider than the terminal: a figure cut short is none."""
    width = Measurement.get(out, out.options.update(max_width=1000), table).maximum
    Console(width=max(width, out.width)).print(table)


def _image_table(report: Report) -> Table:
    """NME of each image under each way of cropping; of many images the means alone."""
    results = {index: report.results[index] for index in report.evaluations}
    first = next(iter(results.values()))
    table = Table("image", "yaw", title=f"NME in percent, {len(first.names)} images", show_footer=True)
    table.columns[0].footer = "mean"
    cells = [[name, f"{yaw:.1f}"] for name, yaw in zip(first.names, first.yaw, strict=True)]
    for result in results.values():
        table.add_column(f"roi: {result.protocol.roi}", footer=f"{result.sample_mean:.3f}", justify="right")
        for row, value in zip(cells, result.nme, strict=True):
            row.append(f"{value:.3f}" if value == value else "no face")
    if report.reference_difference is not None:
        difference = report.reference_difference
        table.add_column("off reference, px", footer=f"max {difference.max():.5f}", justify="right")
        for row, value in zip(cells, difference, strict=True):
            row.append(f"{value:.5f}")
    for row in cells if len(cells) <= _LONGEST_LISTING else ():
        table.add_row(*row)
    return table


@app.command()
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
        _complain(f"frnet train needs {error.name}: pip install 'frnet[train]'")
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
        text = f"lowest NME {result.best_nme:.3f} %; weights: {result.folder.best}, {result.folder.last}"
        out.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def convert(
    src: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Checkpoint of 3DDFA or 3DDFA_V2.")],
    dst: Annotated[Path, typer.Argument(dir_okay=False, help="The .safetensors file to write.")],
    whitening: WhiteningFile = None,
    licence: Annotated[str | None, typer.Option(help="What the weights may be used for, to be stored.")] = None,
    model: TrainedFor = None,
    landmarks: Landmarks = None,
) -> None:
    """Turn a checkpoint into safetensors, its whitening included, and with --model what its basis is known by."""
    from frnet.models import convert as convert_checkpoint

    morphable = None
    if model is not None:
        from frnet.morphable import open_morphable

        morphable = open_morphable(model, landmarks)
    result = convert_checkpoint(src, dst, whitening=whitening, licence=licence, morphable=morphable)
    held = "with its whitening" if result.whitening is not None else "without whitening: none was given or found"
    basis = "" if result.basis is None else f", trained with the basis {result.basis}"
    text = f"{dst}: {result.architecture}, {result.num_params} parameters, {held}{basis}"
    out.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
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
            _complain(error)
            continue
        costs[each] = complexity(model)
        ops[each] = count_ops(model), count_ops(model.fuse())
    if layers and name in costs:
        table = Table("layer", "kind", "output", *_right("parameters", "multiply-adds"))
        for layer in costs[name].layers:
            shape = "x".join(map(str, layer.output))
            table.add_row(layer.name, layer.kind, shape, f"{layer.params:,}", f"{layer.macs:,}")
        _print_whole(table)
    headers = _right("parameters, M", "published", "multiply-adds, G", "published", "ops", "ops, fused")
    table = Table(Column("network", no_wrap=True), *headers)
    for each, cost in costs.items():
        known = PUBLISHED.get(each)
        theirs = ("", "") if known is None else (f"{known.params:.2f}", f"{known.macs:.3f}")
        counts = map(str, ops[each])
        table.add_row(each, f"{cost.params / 1e6:.3f}", theirs[0], f"{cost.macs / 1e9:.4f}", theirs[1], *counts)
    _print_whole(table)
    if not costs:
        raise typer.Exit(1)


def _right(*headers: str) -> list[Column]:
    return [Column(header, justify="right") for header in headers]


def _complain(problem: object) -> None:
    err.print(f"[red]error:[/red] {escape(str(problem))}", highlight=False, soft_wrap=True)


def _try(action: Callable[[], None]) -> bool:
    try:
        action()
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        _complain(error)
        return False
    return True


def _quiet_opencv() -> None:
    """Errors only: OpenCV's warnings would come between the lines of the report."""
    import cv2

    error_level = 2
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4.10 has it here, 4.14 and 5 only below
        cv2.setLogLevel(error_level)
    else:
        cv2.utils.logging.setLogLevel(error_level)


def main() -> None:
    """Entry point: an error that a user can make ends in one line and exit status 1, without a traceback."""
    _quiet_opencv()
    if not _try(app):
        sys.exit(1)
