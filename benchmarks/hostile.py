"""Judge hostile answers: no error, no stall, nothing left behind, nothing read or reached that is the host's.

    python benchmarks/hostile.py 20000 [--seed 1] [--workers 2]
    python benchmarks/hostile.py 1 --first 4711
    python benchmarks/hostile.py 500 --trace FILE

The answers are for five functions, three targets and four tasks: right code that was corrupted, random bytes and words,
texts that repeat something thousands of times, code that does not end or takes all memory, code that means to break out
of the emulator, texts that name a file of this machine, modules of IR, pass lists. Each is made from the seed and its
own number, so that one can be judged again alone: `--first`. `--show` prints it.

Beside the machine's own files there is a canary, whose path the answers know: it must be as it was, unread, and no
verdict may hold what it says. With `--trace`, strace writes what files and sockets were opened. They are counted by
kind, and what is of no kind, or names the canary, is an error.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from attacks.campaign import AttackSource, Canary, Findings, run_campaign
from attacks.trace import CALLS, read_trace
from speed.tables import format_table

from pytest_llmcompiler import Judge

_SLOWEST = 10
CANARY_FOLDER = "canary-that-nobody-opens"


def main() -> int:
    """The command line. 1 where something was found that must not be."""
    options = _parse_arguments()
    if options.trace:
        return _trace(options)
    with tempfile.TemporaryDirectory(prefix="llmc-hostile-") as place:
        for name in ("cases", CANARY_FOLDER):
            (Path(place) / name).mkdir()
        canary = Canary(Path(place) / CANARY_FOLDER)
        source = AttackSource(Path(place) / "cases", canary, options.seed)
        numbers = range(options.first, options.first + options.count)
        if options.show:
            print("\n".join(repr(source.write(number)) for number in numbers))
            return 0
        with Judge(options.workers, explain=options.explain) as judge:
            findings = run_campaign(judge, source, canary, numbers)
        canary.close()
    print("\n".join(_describe(findings, options)))
    return int(bool(findings.errors or findings.leaks or findings.canary or findings.connections))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="answers")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="the number of the first answer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes of the judge (default 2)")
    parser.add_argument("--explain", action="store_true", help="also shrink the inputs of failures")
    parser.add_argument("--show", action="store_true", help="print the answers, and judge none")
    parser.add_argument(
        "--trace", metavar="FILE", help="run under strace, which writes into FILE, and list what it saw"
    )
    return parser.parse_args()


def _describe(findings: Findings, options: argparse.Namespace) -> Iterator[str]:
    total = sum(findings.verdicts.values(), Counter())
    yield f"# {total.total():,} hostile answers, seed {options.seed}, from number {options.first}"
    yield ""
    kinds = [kind for kind, _ in total.most_common()]
    rows = [[name, *(str(counts[kind] or "") for kind in kinds)] for name, counts in sorted(findings.verdicts.items())]
    yield from format_table(["answers", *kinds], [*rows, ["all", *(str(total[kind]) for kind in kinds)]])
    yield ""
    slowest = sorted(findings.seconds, reverse=True)[:_SLOWEST]
    yield "slowest, in seconds (number): " + ", ".join(f"{seconds:.1f} ({number})" for seconds, number in slowest)
    yield f"errors of the judge: {len(findings.errors)}"
    yield from (f"  {number}: {message[:300]}" for number, message in findings.errors[:_SLOWEST])
    yield f"verdicts that hold what is in the canary: {findings.leaks or 'none'}"
    yield f"the canary: {findings.canary or 'as it was, and unread'}; connections: {findings.connections}"
    yield ""
    heading = ["seconds", "verdicts", "memory, MiB (PSS)", "own, MiB", "descriptors", "processes", "zombies"]
    heading += ["temporary files", "unfinished files"]
    states = [
        [f"{s.seconds:,.0f}", f"{s.verdicts:,}", f"{s.memory:,.0f}", f"{s.own_memory:,.0f}", str(s.descriptors)]
        + [str(s.processes), str(s.zombies), str(s.temporary), str(s.parts)]
        for s in findings.states
    ]
    yield from format_table(heading, states)


def _trace(options: argparse.Namespace) -> int:
    """Run the same under strace. 1 where something was opened that is not listed in `attacks/trace.py`."""
    strace = shutil.which("strace")
    if not strace:
        sys.exit("strace is not installed")
    arguments = [str(options.count), "--first", str(options.first), "--seed", str(options.seed)]
    command = [strace, "-f", "-qq", "-y", "-e", f"trace={CALLS}", "-o", options.trace]
    status = subprocess.run([*command, sys.executable, __file__, *arguments]).returncode
    with Path(options.trace).open(errors="replace") as lines:
        trace = read_trace(lines, Path(__file__).resolve().parent.parent, CANARY_FOLDER)
    rows = [[kind, f"{count:,}"] for kind, count in trace.opened.most_common()]
    print("\n".join(format_table(["opened", "times"], rows)))
    print("started:", ", ".join(f"{name} ({count:,})" for name, count in trace.started.most_common()))
    print(f"of no kind, or the canary, or a socket: {trace.unexpected.total() or 'none'}")
    print("\n".join(f"  {count:,} {what}" for what, count in trace.unexpected.most_common(_SLOWEST)))
    return status or int(bool(trace.unexpected))


if __name__ == "__main__":
    sys.exit(main())
