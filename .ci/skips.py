#!/usr/bin/env python3
"""Looks through the skipped tests of a run: .ci/skips.py RESULTS.xml [FILE]

Tests may be skipped for want of a GPU, of an instruction set, of what OpenCV has in some releases only, or of libraries
that nothing here may install beside any torch; of the latter, the names of those that want torchvision or timm are
written to FILE, to run them with both. Any other skipped test is a proof that went missing, and fails.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ALLOWED = "no CUDA device|could not import 'cupy'|OpenCV|this processor lacks"
ZOO = r"pip install '\.\[zoo\]'"


def name(case: ElementTree.Element) -> str:
    """What pytest takes on its command line."""
    parts = case.get("classname").split(".")
    files = [end for end in range(len(parts), 0, -1) if Path(*parts[:end]).with_suffix(".py").is_file()]
    file = Path(*parts[: files[0]]).with_suffix(".py")
    return "::".join([str(file), *parts[files[0] :], case.get("name")])


def main(results: str, wanted: str | None = None) -> None:
    reasons, lost, zoo = Counter(), [], []
    for case in ElementTree.parse(results).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is None:
            continue
        reason = skipped.get("message")
        reasons[reason] += 1
        if wanted and re.search(ZOO, reason):
            zoo.append(name(case))
        elif not re.search(ALLOWED, reason):
            lost.append(f"{case.get('classname')} {case.get('name')}: {reason}")
    for reason, count in reasons.most_common():
        print(f"{count:5} skipped: {reason}")
    if wanted:
        Path(wanted).write_text("".join(f"{each}\n" for each in zoo))
    if lost:
        sys.exit("\n".join(["skipped, but everything that they need should be here:", *lost]))


if __name__ == "__main__":
    main(*sys.argv[1:])
