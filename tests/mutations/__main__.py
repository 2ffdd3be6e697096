"""``python tests/mutations``: plants every known bug in a copy of the checkout, and sees whether a test notices."""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

from judgement import Verdict, judge_all
from mutants import MUTANTS


def main() -> int:
    """0 if every bug was noticed (or is equivalent), 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python tests/mutations", description=__doc__)
    parser.add_argument(
        "--list", action="store_true", help="name the bugs, what each breaks and its tests; run none"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="this bug alone; may be given several times"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="so many, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time, each in a copy of its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there as well")
    asked = parser.parse_args()
    chosen = [m for m in MUTANTS if asked.only is None or m.name in asked.only]
    if unknown := set(asked.only or ()) - {m.name for m in chosen}:
        parser.error(f"there is no bug of this name: {', '.join(sorted(unknown))}; --list names them")
    if asked.sample is not None:
        chosen = random.Random(asked.seed).sample(chosen, min(asked.sample, len(chosen)))
    if asked.list:
        for bug in chosen:
            print(
                f"{bug.name}\n    breaks: {bug.breaks}\n    killed by: {', '.join(bug.killed_by) or bug.equivalent}"
            )
        return 0
    verdicts = judge_all(chosen, jobs=asked.jobs, on_verdict=_Progress(len(chosen)))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    counts = {
        word: sum(v.outcome == word for v in verdicts) for word in sorted({v.outcome for v in verdicts})
    }
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    for verdict in verdicts:
        if not verdict.good:
            print(f"{verdict.outcome}: {verdict.name}: {verdict.why}")
    return 0 if all(verdict.good for verdict in verdicts) else 1


class _Progress:
    def __init__(self, total: int) -> None:
        self.done, self.total = 0, total

    def __call__(self, verdict: Verdict) -> None:
        self.done += 1
        place = f"[{self.done}/{self.total}]"
        print(
            f"{place} {verdict.outcome}  {verdict.seconds:.1f} s  {verdict.name} | {verdict.why}", flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
