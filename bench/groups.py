"""What the rows of a run have in common."""

from __future__ import annotations

import statistics

PEERS = ("eager", "compile")


def family(group: str) -> str:
    """What of a group's name is not its shape: rows of one family are averaged together."""
    words = group.split()
    return " ".join(words[: words.index("batch")]) if "batch" in words else group


def means(groups: dict[str, dict[str, float]]) -> list[tuple[str, int, float, float, float]]:
    """(family, rows, geometric means against both peers, the worst row against eager) from the medians by group."""
    rows = []
    for name in dict.fromkeys(map(family, groups)):
        times = [medians for group, medians in groups.items() if family(group) == name]
        ratios = {peer: [t[peer] / t["frnet"] for t in times] for peer in PEERS}
        eager, compiled = (statistics.geometric_mean(ratios[peer]) for peer in PEERS)
        rows.append((name, len(times), eager, compiled, min(ratios["eager"])))
    return rows
