"""``frnet evaluate``: NME in the published tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from frnet.cli.console import note, print_whole, require, right, say
from frnet.cli.options import check_writable, detector_source, model_source, named_option, weights_source

if TYPE_CHECKING:
    from frnet.evaluate.command import Report

_NETWORK, _PROTOCOL, _OUTPUT = "A network", "Protocol", "Output"
_LONGEST_LISTING = 50  # images; what is beyond it is in per_image.csv alone


def _panel(panel: str, help_text: str, *names: str, **checks):
    return typer.Option(*names, help=help_text, rich_help_panel=panel, **checks)


def _panel_file(panel: str, help_text: str, *names: str):
    return _panel(panel, help_text, *names, exists=True, dir_okay=False)


def _panel_folder(panel: str, help_text: str, *names: str):
    return _panel(panel, help_text, *names, exists=True, file_okay=False)


def _panel_named(parse: Callable[[str], str], metavar: str, help_text: str, *names: str):
    return named_option(parse, metavar, help_text, *names, rich_help_panel=_NETWORK)


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
    weights: Annotated[
        str | None,
        _panel_named(
            weights_source,
            "builtin|small|FILE",
            "Checkpoint; by default, without --predictions, the network that comes with frnet.",
            "--weights",
            "-w",
        ),
    ] = None,
    model: Annotated[
        str | None,
        _panel_named(model_source, "builtin|PATH", "Morphable model; also for params of a file.", "--model", "-m"),
    ] = None,
    landmarks: Annotated[Path | None, _panel_folder(_NETWORK, "Folder of the landmark basis, for a grid .npz.")] = None,
    whitening: Annotated[Path | None, _panel_file(_NETWORK, "Whitening .pkl, if not that of the weights.")] = None,
    detector: Annotated[
        str | None,
        _panel_named(detector_source, "builtin|FILE", "Also with its boxes and two passes.", "--detector", "-d"),
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
    if out_dir is not None:
        require("matplotlib", "frnet evaluate --out", "plots")  # for the curves; before the evaluation, not after it
        check_writable(out_dir, "--out", create=True)

    from frnet.cli.network import open_network
    from frnet.evaluate.command import Request, RequestError, run
    from frnet.evaluate.report import report_tables, write_report

    request = Request(
        truth=truth,
        weights="builtin" if weights is None and not predictions else weights,
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
        report = run(request, open_network)
    except RequestError as error:
        raise typer.BadParameter(str(error)) from None
    if report.whitening is not None:
        note(f"whitening: {report.whitening}")
    if report.evaluations:
        print_whole(_image_table(report))
    for table in report_tables(report):
        printed = Table(*table.header[:1], *right(*table.header[1:]), title=table.title)
        for row in table.rows:
            printed.add_row(*map(escape, row))
        print_whole(printed)
        for mark, text in table.notes.items():
            say(f"[{mark}] {text}")
    for index, evaluation in report.evaluations.items():
        if evaluation.missed:
            names = evaluation.missed[:_LONGEST_LISTING]
            count = f"{len(evaluation.missed)} of {len(evaluation.names)} images"
            missed = f"no face in {count} ({', '.join(names)}); the means leave them out"
            say(f"{report.results[index].method}: {missed}")
    for text in report.notes:
        note(f"note: {text}")
    if out_dir is not None:
        for path in write_report(out_dir, report, worst):
            note(f"wrote {path}")


def _image_table(report: Report) -> Table:
    """NME of each image under each way of cropping; of many images the means alone."""
    results = {index: report.results[index] for index in report.evaluations}
    first = next(iter(results.values()))
    table = Table("image", "yaw", title=f"NME in percent, {len(first.names)} images", show_footer=True)
    table.columns[0].footer = "mean"
    cells = [[name, f"{yaw:.1f}"] for name, yaw in zip(first.names, first.yaw, strict=True)]
    for result in results.values():
        table.add_column(f"roi: {result.protocol.roi}", footer=f"{result.sample_mean:.3f}", justify="right")
        for row, value in zip(cells, result.nme_percent, strict=True):
            row.append(f"{value:.3f}" if value == value else "no face")
    if report.reference_difference is not None:
        difference = report.reference_difference
        table.add_column("off reference, px", footer=f"max {difference.max():.5f}", justify="right")
        for row, value in zip(cells, difference, strict=True):
            row.append(f"{value:.5f}")
    for row in cells if len(cells) <= _LONGEST_LISTING else ():
        table.add_row(*row)
    return table
