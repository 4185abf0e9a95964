"""What grinding the draw is worth, with the protocol's own draw. `python experiments/grinding/run.py`.

A run has one false interval, placed where nobody looks by rule. Two attackers try to keep it out of the sample:

- the *submitter*, who may try contexts and blocks but knows no later beacon. A try that is drawn badly cannot be
  withdrawn: it loses its bond, and attempts are counted in the state. The advantage is the chance of a single draw,
  whatever the tries.
- the *operator of `solo`*, who knows every beacon of the chain, and so looks at the draws of many contexts in advance
  and submits only the one whose sample misses: the sample alone gives no protection.

Private intervals come from secrets that were committed before; nobody else knows them. One honest seat with p of N
private intervals catches with chance p / N however much was ground: grinding is stopped, and what is left is the size
of that sample. With p = s, one such seat restores what the sample promised; with p = N nothing escapes.

Each rate is compared with its formula; `met` says that all lie inside the 99 % interval.
"""

from __future__ import annotations

import argparse
import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from assay.protocol.evidence.chances import compute_miss_chance
from assay.protocol.evidence.draw import DrawFacts, compute_draw_id, select_private, select_sample
from benchmarks.report import describe_machine
from experiments.figure3.formula import find_limits

CONFIG = Path(__file__).with_name("config.json")


class Guard(NamedTuple):
    """Honest seats of the quorum, and the private intervals of each."""

    seats: int
    private: int


def read_config(*, tiny: bool) -> dict[str, Any]:
    """Return the configuration, with the tiny mode's values in place if asked for."""
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    return config | config["tiny"] if tiny else config


def make_bytes(*parts: object) -> bytes:
    """Return 32 bytes that nobody chose."""
    return sha256(repr(parts).encode()).digest()


def draw(config: dict[str, Any], submission: bytes, beacon: bytes) -> tuple[bytes, tuple[int, ...]]:
    """Return the id of a draw and its sample."""
    facts = DrawFacts(submission, 100, 102, beacon, 90, config["sample"], config["intervals"], 5, 0)
    identity = compute_draw_id(facts)
    return identity, select_sample(identity, facts)


def is_seen_privately(intervals: int, identity: bytes, false: int, trial: int, guard: Guard) -> bool:
    """Return whether an honest seat's own intervals hold the false one."""
    return any(
        false in select_private(identity, make_bytes("secret", trial, seat), intervals, guard.private)
        for seat in range(guard.seats)
    )


def escape(config: dict[str, Any], who: str, tries: int, guard: Guard, trial: int) -> bool:
    """Return whether the false interval is judged by nobody."""
    false = trial % (config["intervals"] - 1)  # never the last one, which is always judged
    kept = None
    for number in range(tries):
        beacon = make_bytes("beacon", who, trial, tries, guard)
        identity, sample = draw(config, make_bytes("context", who, trial, tries, guard, number), beacon)
        kept = identity if false not in sample else None
        # whoever cannot see the beacon gains nothing by a second try: the first one is final
        if who == "submitter" or kept is not None:
            break
    return kept is not None and not is_seen_privately(config["intervals"], kept, false, trial, guard)


def compute_formula(config: dict[str, Any], who: str, tries: int, guard: Guard) -> float:
    """Return the chance of an escape."""
    miss = float(compute_miss_chance(config["intervals"], config["sample"], 1))
    found = miss if who == "submitter" else 1 - (1 - miss) ** tries
    return float(found * (1 - guard.private / config["intervals"]) ** guard.seats)


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Return all rates beside their formulas."""
    guards = [Guard(seats, private) for seats in config["honestSeats"] for private in config["private"] if seats]
    guards.insert(0, Guard(0, 0))
    lines = []
    for who in ("submitter", "operator"):
        for tries in config["tries"]:
            for guard in guards:
                escaped = sum(escape(config, who, tries, guard, trial) for trial in range(config["trials"]))
                chance = compute_formula(config, who, tries, guard)
                low, high = find_limits(config["trials"], chance)
                lines.append(
                    {
                        "who": who,
                        "tries": tries,
                        "honestSeats": guard.seats,
                        "privateIntervals": guard.private,
                        "escapes": round(escaped / config["trials"], 4),
                        "formula": round(chance, 4),
                        "limits99": [round(low / config["trials"], 4), round(high / config["trials"], 4)],
                        "met": low <= escaped <= high,
                    }
                )
    return {
        "experiment": "grinding",
        "machine": describe_machine(),
        "intervals": config["intervals"],
        "sample": config["sample"],
        "trials": config["trials"],
        "lines": lines,
        "met": all(line["met"] for line in lines),
    }


def main() -> int:
    """Print one JSON object last; the exit status says whether every rate is that of its formula."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="fewer trials, in seconds")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results here too")
    options = parser.parse_args()
    found = run(read_config(tiny=options.tiny))
    for line in found["lines"]:
        print(
            f"{line['who']:9} {line['tries']:4} tries, {line['honestSeats']:2} honest seats with "
            f"{line['privateIntervals']:2} private intervals: escapes "
            f"{100 * line['escapes']:5.1f} %, formula {100 * line['formula']:5.1f} %",
            file=sys.stderr,
        )
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
