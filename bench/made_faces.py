"""Training faces made a second on one core: rendered heads, turned portraits, and both as they are mixed.

    python bench/made_faces.py --ict FaceXModel [--assets DIR] [--blocks 12] [--out bench/results/made_faces.json]

Per second of processor time, so that a busy machine changes it less; median and best of the blocks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import cv2
import torch

from frnet.datasets.faces.factory import BLOCK, FaceFactory
from frnet.datasets.faces.ingredients import Ingredients


def seconds_of_blocks(factory: FaceFactory, blocks: int) -> list[float]:
    """Processor time of each block, the first one left out."""
    seconds = []
    for index in range(blocks + 1):
        start = time.process_time()
        factory.block(0, index)
        seconds.append(time.process_time() - start)
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict", type=Path, required=True)
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    plain = {
        name: False for name in ("hair", "hats", "glasses", "things", "torso", "shadows", "degradation", "patches")
    }
    kinds = {"rendered": Ingredients(portraits=0.0), "rendered, heads alone": Ingredients(portraits=0.0, **plain)}
    if options.assets is not None:
        kinds |= {"portraits, turned": Ingredients(portraits=1.0)}
    rates = {}
    for name, ingredients in kinds.items():
        seconds = seconds_of_blocks(FaceFactory(options.ict, options.assets, ingredients), options.blocks)
        rates[name] = {"median": BLOCK / statistics.median(seconds), "best": BLOCK / min(seconds)}
        print(f"{name:24} {rates[name]['median']:6.0f} faces/s, at best {rates[name]['best']:6.0f}")
    if options.assets is not None:
        share = Ingredients().portraits
        rates["as mixed"] = {
            key: 1 / (share / rates["portraits, turned"][key] + (1 - share) / rates["rendered"][key])
            for key in ("median", "best")
        }
        print(f"{'as mixed':24} {rates['as mixed']['median']:6.0f} faces/s, at best {rates['as mixed']['best']:6.0f}")
    if options.out is not None:
        options.out.write_text(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main()
