"""The arguments of `llmc serve`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from pytest_llmcompiler.judge.settings import NATIVE_MODES
from pytest_llmcompiler.service.http.limits import ServiceLimits
from pytest_llmcompiler.targets.levels import ISA_LEVELS


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the server: its address, its token, the judge, the limits."""
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=_parse_port, default=8000, help="the port to listen at, 0 for any free one (default: 8000)"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a file with the token that requests must bear; without it, the variable LLMC_SERVE_TOKEN has the token. "
        "Needed where other machines can reach the server",
    )
    _add_judge_arguments(parser)
    _add_limits(parser)


def _add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=parse_count, metavar="N", help="judge processes (default: one a core)")
    parser.add_argument("--examples", type=parse_count, default=100, metavar="N", help="inputs (default: 100)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed gives other inputs (default: 1)")
    parser.add_argument("--effort", type=parse_effort, default=1.0, metavar="FACTOR", help="as for `llmc judge`")
    add_native_arguments(parser, "off")
    parser.add_argument(
        "--timeout", type=_parse_seconds, metavar="SECONDS", help="wall-clock time of a sample (default: no such limit)"
    )
    parser.add_argument("--explain", action="store_true", help="search for a smaller input that shows each failure")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    default = ServiceLimits()
    mebibytes = default.body_bytes >> 20
    for name, value, metavar, text in (
        ("--max-body", mebibytes, "MIB", "the longest body of a request, in MiB"),
        ("--max-samples", default.samples, "N", "the most samples of one request"),
        ("--max-queue", default.queue, "N", "the most samples of all requests that wait for a verdict"),
    ):
        parser.add_argument(name, type=parse_count, default=value, metavar=metavar, help=f"{text} (default: {value})")


def add_native_arguments(parser: argparse.ArgumentParser, mode: str) -> None:
    """Add the arguments that say which code runs on the processor itself. `mode` is the default of the first."""
    parser.add_argument(
        "--native",
        choices=NATIVE_MODES,
        default=mode,
        help="run code on this machine's processor, in a confined process; auto: where the emulator can't run it and "
        f"--isa allows it; always: all code too, and a difference from the emulator is an error (default: {mode})",
    )
    parser.add_argument(
        "--isa",
        choices=ISA_LEVELS,
        default=ISA_LEVELS[0],
        metavar="LEVEL",
        help=f"the instructions that code may use: {', '.join(ISA_LEVELS)} (default: {ISA_LEVELS[0]}); from "
        "x86-64-v3 on, code with AVX runs natively",
    )


def parse_count(text: str) -> int:
    """A number of at least 1. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, found {text!r}")
    return int(text)


def parse_effort(text: str) -> float:
    """A factor of 0 or more. Raises ArgumentTypeError."""
    from pytest_llmcompiler.judge.settings import check_effort

    try:
        return check_effort(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, found {text!r}") from None


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, found {text!r}")
    return seconds


def _parse_port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, found {text!r}")
    return int(text)
