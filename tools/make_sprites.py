"""Makes the heads that scenes for the face detector are put together of; see tools/train_detector.py.

python tools/make_sprites.py --ict FaceXModel --assets DIR --output DIR [--sprites 8000] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import cv2  # noqa: E402
import torch  # noqa: E402

from frnet.datasets.faces.factory import BLOCK  # noqa: E402
from frnet.datasets.faces.sprites import SpriteMaker, SpriteStore  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ict", type=Path, required=True)
    parser.add_argument("--assets", type=Path, help="that tools/make_face_assets.py wrote")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sprites", type=int, default=8000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    maker = SpriteMaker(arguments.ict, arguments.assets, arguments.size)
    settings = {"size": arguments.size, "seed": arguments.seed}
    SpriteStore.make(arguments.output, maker, -(-arguments.sprites // BLOCK), arguments.seed, settings)
    store = SpriteStore(arguments.output)
    print(f"{len(store)} sprites; {[int((store.kinds == kind).sum()) for kind in range(3)]} of the three kinds")


if __name__ == "__main__":
    main()
