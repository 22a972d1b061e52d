"""Makes training faces and keeps them on disk, for ``frnet train builtin``; goes on where it was stopped.

    python tools/render_faces.py --ict FaceXModel --assets DIR --output DIR --faces 200000 --workers 2

With ``--renew`` it goes on when the store is full and replaces the oldest faces, until it is interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict", type=Path, required=True)
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=100_000, help="room in the store")
    parser.add_argument("--size", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--ingredients", type=json.loads, default={}, help='JSON, such as {"hair": false}')
    arguments = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(arguments, number)) for number in range(arguments.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(arguments: argparse.Namespace, number: int) -> None:
    import cv2

    from frnet.datasets.faces.factory import FaceFactory
    from frnet.datasets.faces.ingredients import Ingredients
    from frnet.datasets.faces.poses import PoseRanges
    from frnet.datasets.faces.store import FaceStore

    cv2.setNumThreads(1)
    wanted = dict(arguments.ingredients)
    if "poses" in wanted:
        wanted["poses"] = PoseRanges(**wanted["poses"])
    ingredients = Ingredients(**wanted)
    factory = FaceFactory(arguments.ict, arguments.assets, ingredients, arguments.size)
    settings = {"seed": arguments.seed, "ingredients": dataclasses.asdict(ingredients)}
    store = FaceStore.create(arguments.output, arguments.faces, arguments.size, factory.head.points, settings)
    index, started, made = store.next_block(number, arguments.workers), time.time(), 0
    while arguments.renew or index < store.slots:
        store.write(index, factory.block(arguments.seed, index))
        index += arguments.workers
        made += 16
        if made % 1600 == 0:
            print(f"worker {number}: {made} faces, {made / (time.time() - started):.0f}/s", flush=True)


if __name__ == "__main__":
    main()
