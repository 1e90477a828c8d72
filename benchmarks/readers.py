"""Texts for each reader: thousands of random ones, and long ones, whose time must grow with their length alone.

    python benchmarks/readers.py [--examples 5000] [--length 20000] [--reader answers]

Random texts are those of `tests/fuzzed_readers.py`. Each must end in a value or in an error that names the place; the
smallest text for each other end is printed. A long text is one piece, or one between two others, repeated; it is read
at some length and at four times that. The piece whose time grows most is shown, with both times of a processor: where
reading is linear, the second is about four times the first. Where it is above 8 times, and above 0.1 s, the exit status
is 1.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fuzzed_readers import READERS, Reader, texts
from hypothesis import HealthCheck, given, settings
from speed.tables import format_table

_FACTOR, _MOST_GROWTH, _LEAST_SECONDS = 4, 8.0, 0.1
_AROUND = (("", ""), ("f:\n\tmovl a", "b, %eax\n"), ("<code>\nf:\n", "</code>"), ("// LLMC: ", "\n"), ("{", "}"))
"""What may stand before and behind a repeated piece."""
_EXTRA = (" ", "\n", "(", '"', ",", "#", "\\", "a", "$", "%", "-", "{", "\t", "=")


def fuzz(reader: Reader, examples: int) -> str:
    """Try random texts. Returns what went wrong; empty where nothing did."""

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(texts(reader))
    def check(text: str) -> None:
        reader.read_alone(text)

    try:
        check()
    except BaseException as error:
        notes = " ".join(getattr(error, "__notes__", ()))
        return f"{type(error).__name__}: {str(error)[:300]} {notes[:600]}"
    return ""


def list_long(reader: Reader, length: int) -> Iterator[tuple[str, str, str]]:
    """Long texts of each kind, with four times as long ones, and their names."""
    for piece, (before, behind) in itertools.product((*reader.pieces, *_EXTRA), _AROUND):
        count = max(1, length // len(piece))
        yield (
            f"{before!r} {piece[:30]!r} {behind!r}",
            before + piece * count + behind,
            before + piece * (_FACTOR * count) + behind,
        )


def measure(reader: Reader, text: str) -> float:
    """Seconds of a processor that a text takes."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        reader.read(text, Path(folder))
        return time.process_time() - start


def find_slowest(reader: Reader, length: int) -> tuple[str, float, float]:
    """The kind of text whose time grows most, with both times; of those that take little time the slowest one."""
    found = ("", 0.0, 0.0)
    for name, text, longer in list_long(reader, length):
        first = measure(reader, text)
        second = measure(reader, longer)
        if _grows(first, second):
            first, second = min(first, measure(reader, text)), min(second, measure(reader, longer))
        if _grows(first, second) > _grows(*found[1:]) or (_grows(*found[1:]) == 0 and second > found[2]):
            found = name, first, second
    return found


def _grows(first: float, second: float) -> float:
    """By how much time grows where that is too much; 0 where it is not."""
    return second / max(first, 1e-4) if second > _LEAST_SECONDS and second > _MOST_GROWTH * first else 0.0


def main() -> int:
    """The command line. 1 where a reader fails, or takes more than linear time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--length", type=int, default=20_000, help="characters of the shorter long texts")
    parser.add_argument("--reader", choices=READERS)
    options = parser.parse_args()
    rows, faults = [], []
    for name in [options.reader] if options.reader else READERS:
        fault = fuzz(READERS[name], options.examples)
        faults += [f"{name}: {fault}"] if fault else []
        slowest, first, second = find_slowest(READERS[name], options.length)
        if _grows(first, second):
            faults.append(f"{name}: {slowest} takes {first:.2f} s, and {second:.2f} s at {_FACTOR} times the length")
        rows.append(
            [name, f"{options.examples:,}", "none" if not fault else "one", slowest, f"{first:.2f}", f"{second:.2f}"]
        )
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    heading = ["reader", "random texts", "faults", "slowest long text", "s", f"s at {_FACTOR} times the length"]
    print("\n".join([*format_table(heading, rows), *faults]))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
