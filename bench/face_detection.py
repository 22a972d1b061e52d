"""Face detectors beside one another: how many faces each finds when all may show equally many that are none.

    python bench/face_detection.py --yunet FILE --photos DIR --samples DIR --faceless DIR [DIR ..] \\
        [--weights FILE] [--only NAME ..] [--out bench/results/face_detection.json]

``--samples`` is the folder of AFLW2000-3D's sample pictures with ``ground_truth.npz``; ``--faceless`` are folders of
pictures without faces that no detector was trained on. A face is found where a box's middle lies within 0.35 of its
side from the face's and its side is between a half and double. False boxes are counted on the pictures without faces.
Times are of one thread, the median over the pictures of a set. With ``--only`` the others' rows are kept as they are in
the file that ``--out`` names.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from face_scenes import Picture, close_ups, faceless, pasted, photographs

from frnet.align import FaceDetector, YuNetDetector

FAINTEST = {"frnet": 0.1, "YuNetDetector": 0.6, "FaceDetectorYN": 0.3}  # scores from which boxes are compared
RATES = (0.0, 0.02, 0.1)  # false boxes for each picture without a face


def detectors(arguments: argparse.Namespace) -> dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """Name -> image to boxes [n, 4] and scores [n]."""
    ours = FaceDetector(arguments.weights, FAINTEST["frnet"], num_threads=1)
    theirs = YuNetDetector(arguments.yunet, score_threshold=FAINTEST["YuNetDetector"])
    plain = cv2.FaceDetectorYN.create(str(arguments.yunet), "", (320, 320), FAINTEST["FaceDetectorYN"], 0.3)

    def found(detector: Callable) -> Callable:
        def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            result = detector(image)
            return result.boxes, result.scores

        return run

    def once(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        below, right = (max(0, 64 - side) for side in image.shape[:2])  # smaller ones make OpenCV's network fail
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
        plain.setInputSize(image.shape[1::-1])
        rows = plain.detect(image)[1]
        rows = np.empty((0, 15)) if rows is None else rows
        return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1), rows[:, -1]

    return {"frnet": found(ours), "YuNetDetector": found(theirs), "FaceDetectorYN": once}


def best_scores(picture: Picture, boxes: np.ndarray, scores: np.ndarray) -> list[float]:
    """Of each face, the score of the best box that shows it; 0: there is none. Without faces, of each box."""
    if not len(picture.faces):
        return scores.tolist()
    middle, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    result = []
    for x, y, size in picture.faces:
        near = (np.abs(middle - [x, y]).max(1, initial=0) < 0.35 * size) & (side > size / 2) & (side < size * 2)
        result.append(float(scores[near].max(initial=0)))
    return result


def measure(arguments: argparse.Namespace) -> dict:
    """All there is to know, ready for JSON."""
    pictures = [*photographs(arguments.photos), *pasted(arguments.samples), *close_ups(arguments.samples)]
    without = list(faceless(arguments.faceless))
    result: dict = {"pictures": len(pictures), "faceless": len(without), "detectors": {}}
    if arguments.only and arguments.out is not None and arguments.out.is_file():
        result["detectors"] = json.loads(arguments.out.read_text(encoding="utf-8"))["detectors"]
    for name, detector in detectors(arguments).items():
        if arguments.only and name not in arguments.only:
            continue
        rows, times = [], {}
        for picture in [*pictures, *without]:
            start = time.process_time()
            boxes, scores = detector(picture.image)
            times.setdefault(picture.group, []).append(1e3 * (time.process_time() - start))
            rows.append((picture.group, picture.case, best_scores(picture, boxes, scores)))
        false = sorted((score for group, _, scores in rows if group == "faceless" for score in scores), reverse=True)
        points = []
        for rate in RATES:
            allowed = int(rate * len(without))
            # The faintest score that lets no more than so many false boxes pass.
            least = false[allowed] if allowed < len(false) else FAINTEST[name] - 1e-6
            points.append({"false_boxes": allowed, "threshold": least, "recall": _recalls(rows, least)})
        worst = [(round(max(scores, default=0), 3), case) for group, case, scores in rows if group == "faceless"]
        result["detectors"][name] = {
            "points": points,
            "milliseconds": {group: round(statistics.median(spent), 1) for group, spent in times.items()},
            "worst_faceless": sorted(worst, reverse=True)[:12],
            "false_boxes_at_its_faintest": len(false),
        }
    return result


def _recalls(rows: list[tuple[str, str, list[float]]], least: float) -> dict[str, list[int]]:
    """Faces found and faces there, by set and by what is special."""
    recalls: dict[str, list[int]] = {}
    for group, case, scores in rows:
        if group == "faceless":
            continue
        names = ["all", group] + ([f"{group}, {part}" for part in case.split(", ")] if group != "photos" else [])
        for name in names:
            found, there = recalls.get(name, (0, 0))
            recalls[name] = [found + sum(score > least for score in scores), there + len(scores)]
    return recalls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("yunet", "photos", "samples"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--faceless", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(FAINTEST))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    result = measure(arguments)
    names = list(result["detectors"])
    for index in range(len(RATES)):
        points = {name: result["detectors"][name]["points"][index] for name in names}
        print(f"\n{points[names[0]]['false_boxes']} false boxes on {result['faceless']} pictures without faces")
        print(f"{'':34}" + "".join(f"{name:>18}" for name in names))
        print(f"{'threshold':34}" + "".join(f"{points[name]['threshold']:18.3f}" for name in names))
        for case in points[names[0]]["recall"]:
            cells = [points[name]["recall"][case] for name in names]
            print(f"{case:34}" + "".join(f"{f'{found} of {there}':>18}" for found, there in cells))
    for group in result["detectors"][names[0]]["milliseconds"]:
        times = [result["detectors"][name]["milliseconds"][group] for name in names]
        print(f"{'ms: ' + group:34}" + "".join(f"{spent:18.1f}" for spent in times))
    for name in names:
        print(name, "worst:", result["detectors"][name]["worst_faceless"])
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
