"""Sharing out examples into SFT, GRPO, validation and test: seeded, by question, near duplicates on one side."""

import random
from collections.abc import Sequence

from pipeline.errors import DatasetError
from pipeline.recipe import Split

PARTS = ("sft", "grpo", "validation", "test")


def part_sizes(split: Split, usable: int, parts: Sequence[str] = PARTS) -> dict[str, int]:
    """How many rows each part gets: a number below 1 is a share of the usable rows, otherwise a count.

    Shares are rounded down, but to one row at least while there are rows; where they add up to 1, the largest part
    takes what rounding left. Raises DatasetError when the counts ask for more rows than there are.
    """
    wanted = {part: float(getattr(split, part)) for part in parts}
    sizes = {p: int(v) if v >= 1 else int(v * usable + 1e-9) for p, v in wanted.items()}
    if (total := sum(sizes.values())) > usable:
        listed = ", ".join(f"{part} {count}" for part, count in sizes.items())
        raise DatasetError(f"The split asks for {total} rows ({listed}), but only {usable} are usable. Lower the "
                           "numbers, or use shares such as 0.5.")
    for part, value in wanted.items():
        if value and not sizes[part] and sum(sizes.values()) < usable:
            sizes[part] = 1
    if all(v < 1 for v in wanted.values()) and abs(sum(wanted.values()) - 1) < 1e-9:
        sizes[max(wanted, key=lambda p: wanted[p])] += usable - sum(sizes.values())
    return sizes


def share_out(groups: Sequence[Sequence[int]], can_sft: Sequence[bool], can_grpo: Sequence[bool],
              sizes: dict[str, int], seed: int) -> dict[str, list[int]]:
    """Give each group of rows (one question with its near duplicates) to one part; returns row indices by part.

    Groups go to the part that is furthest from its size, in an order that the seed decides; those that serve few parts
    go first. A row that cannot serve its group's part, or that no part needs, is left out.
    """
    rng = random.Random(f"split-{seed}")
    order = list(range(len(groups)))
    rng.shuffle(order)
    serves = {g: _serves(groups[g], can_sft, can_grpo, sizes) for g in order}
    order.sort(key=lambda g: len(serves[g]))  # stable: the shuffle decides among equals
    filled: dict[str, list[int]] = {part: [] for part in sizes}
    for g in order:
        room = {p: sizes[p] - len(filled[p]) for p in serves[g] if sizes[p] > len(filled[p])}
        if not room:
            continue
        part = max(room, key=lambda p: (room[p] / sizes[p], -list(sizes).index(p)))
        flags = can_sft if part == "sft" else can_grpo
        filled[part] += [i for i in groups[g] if flags[i]][: room[part]]
    return {part: sorted(rows) for part, rows in filled.items()}


def _serves(group: Sequence[int], can_sft: Sequence[bool], can_grpo: Sequence[bool],
            sizes: dict[str, int]) -> list[str]:
    sft, grpo = any(can_sft[i] for i in group), any(can_grpo[i] for i in group)
    return [part for part, size in sizes.items() if size and (sft if part == "sft" else grpo)]
