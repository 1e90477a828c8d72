"""The records of a session: one JSON line a sample."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, cast

from pytest_llmcompiler.errors import RecordError
from pytest_llmcompiler.judge.verdict import Kind, Verdict
from pytest_llmcompiler.model import replay
from pytest_llmcompiler.model.answer import Answer, Prompt, StopReason
from pytest_llmcompiler.model.record_layout import SCHEMA, RecordLayoutError

# The layout of a record, as record.schema.json describes it; tests/report/test_record_layout.py holds the two against
# each other. Of each pair of classes the first has the keys that are always there: `NotRequired` is Python 3.11.


class TokenCounts(TypedDict, total=False):
    """Tokens of one sample; None if the model does not count."""

    prompt: int | None
    answer: int | None


class RecordModel(TypedDict):
    """What the model says of itself. Further keys depend on the backend."""

    backend: str
    name: str


class _RecordSettings(TypedDict):
    version: str
    prompt: str
    seed: int
    examples: int
    assembler: Literal["keystone", "llvm"]
    target: str
    clang: str | None


class RecordSettings(_RecordSettings, total=False):
    """All settings that the answer and the verdict depend on."""

    syntax: Literal["att", "intel"]
    cflags: str
    link: Literal["database"]
    min_coverage: float
    effort: float
    prove: bool
    native: Literal["off", "auto", "always"]
    isa: Literal["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"]
    programs: bool
    temperature: float
    top_p: float
    max_tokens: int | None
    n_ctx: int | None


class _IRComparison(TypedDict):
    instructions: int
    size: int


class IRComparison(_IRComparison, total=False):
    """The IR of an answer beside the IR that opt makes."""

    exact: bool
    canonical: bool
    opt_instructions: int
    opt_size: int


class _RoundTrip(TypedDict):
    exact: bool


class RoundTrip(_RoundTrip, total=False):
    """The assembly of an answer's IR beside the assembly in the prompt."""

    bleu: float


class TuneResult(TypedDict):
    """The size in bytes that a pass list gives, beside that of -Oz."""

    passes: str
    size: int
    oz: int
    improvement: float


ClaimedCount = TypedDict("ClaimedCount", {"said": int, "is": "int | None"})
"""A count that the answer states, and the true one."""


class ClaimedSizes(TypedDict, total=False):
    """The counts that an answer states about itself."""

    instructions: ClaimedCount
    size: ClaimedCount


class UnreachedLine(TypedDict):
    """A line of the C file that no input reached."""

    line: int
    reason: str


class RecordCoverage(TypedDict):
    """How much of the function's code the inputs reach."""

    edges: int
    of: int
    unreached: list[UnreachedLine]


class RecordAdequacy(TypedDict):
    """How many of the faults that were seeded into clang's own code the inputs show."""

    mutants: int
    killed: int


class LookInput(TypedDict):
    """An input of the second look: one of the suite with other numbers."""

    entry: int
    numbers: list[list[int]]


class _RecordSecondLook(TypedDict):
    inputs: int
    leads: int


class RecordSecondLook(_RecordSecondLook, total=False):
    """The second look at code that passes all inputs of the suite."""

    input: LookInput
    taught: bool


class _RecordProof(TypedDict):
    steps: int


class RecordProof(_RecordProof, total=False):
    """The attempt to prove that code which passes is equal to the reference."""

    level: str
    reason: str


class RecordCompilerBug(TypedDict):
    """Where clang -O2 computes the function wrongly, on one of the inputs that show it."""

    inputs: int
    input: list[str]
    location: str
    expected: str
    observed: str


class _CodeSize(TypedDict):
    bytes: int


class CodeCost(_CodeSize, total=False):
    """What some code of a function costs."""

    instructions: int
    """Missing for code that ran natively, where nothing counts them."""


class RecordCost(CodeCost):
    """What code that passes costs, beside what clang's own code costs on the same inputs."""

    references: dict[str, CodeCost]


class _RecordPublishedTests(TypedDict):
    tests: Literal["asserts", "io"]
    holds: bool


class RecordPublishedTests(_RecordPublishedTests, total=False):
    """What the tests that came with the case say of the answer."""

    message: str


class ProgramStart(TypedDict):
    """What a whole program that fails started from, in hexadecimal."""

    stdin: str
    argv: list[str]


class RecordDetail(TypedDict, total=False):
    """The evidence for a verdict."""

    message: str
    evidence: list[str]
    assembler: str
    inputs: int
    program: Literal[True]
    program_input: ProgramStart
    agreeing: int
    dropped: dict[str, int]
    coverage: RecordCoverage
    adequacy: RecordAdequacy
    second_look: RecordSecondLook
    native: Literal[True]
    proved: bool
    proof: RecordProof
    cut: dict[str, list[int]]
    warning: str
    compiler_bug: RecordCompilerBug
    line: int | None
    column: int | None
    parts: int
    input: list[str]
    expected: str
    observed: str
    differences: list[list[str]]
    instructions: int
    lowered: str
    origin: int
    ir: IRComparison
    round_trip: RoundTrip
    tune: TuneResult
    promised: ClaimedSizes
    cost: RecordCost
    published: RecordPublishedTests


class _Record(TypedDict):
    case: str
    function: str
    task: str
    passes: str
    sample: int
    answer: str


class Record(_Record, total=False):
    """One sample: the question, the answer and the verdict."""

    schema: Literal[1]
    prompt: str
    question: str
    stop: StopReason
    tokens: TokenCounts
    seconds: float | None
    seed: int | None
    model: RecordModel
    settings: RecordSettings
    verdict: Kind | None
    previous: Kind
    detail: RecordDetail


def read_records(path: Path) -> list[Record]:
    """Read a file of records. Raises ModelError that names file and line for what is no record."""
    return cast("list[Record]", replay.read_records(path))


def fill_in(record: Record) -> Record:
    """The record with all members that a session's own records have: what a file may leave out is unknown."""
    unknown: dict[str, Any] = {"stop": "eos", "seconds": None, "seed": None, "model": {}, "verdict": None, "detail": {}}
    tokens = {"prompt": None, "answer": None, **record.get("tokens", {})}
    return cast(Record, {**unknown, **record, "tokens": tokens})


class DamagedLine(NamedTuple):
    """A line of a file that is no record."""

    path: Path
    line: int
    """Counted from 1."""
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


def read_undamaged_records(path: Path) -> tuple[list[Record], list[DamagedLine]]:
    """Read a file of records: those that are whole, and the lines that are none. Raises ModelError if it can't be read.

    An incomplete last line, as a killed writer leaves it, is neither.
    """
    records, damaged = [], []
    for number, record in replay.read_lines(path):
        if isinstance(record, RecordLayoutError):
            damaged.append(DamagedLine(path, number, str(record)))
        else:
            records.append(cast(Record, record))
    return records, damaged


def build_record(
    prompt: Prompt,
    answer: Answer,
    model: dict[str, Any],
    verdict: Verdict | None,
    settings: RecordSettings,
    previous: Kind | None = None,
) -> Record:
    """Build the record of one sample.

    `model` is what the model says of itself. `verdict` is None if the judge failed. `settings` is all that answer and
    verdict depend on beside the question. `previous` is the verdict that a replayed answer had in its record.
    """
    judged = verdict.to_json() if verdict else {"verdict": None, "detail": {}}
    if prompt.instructions is not None:
        judged["detail"]["instructions"] = prompt.instructions
    record: Record = {
        "schema": SCHEMA,
        "case": prompt.case,
        "function": prompt.function,
        "task": prompt.key.task,
        "passes": prompt.passes,
        "prompt": prompt.template,
        "question": prompt.digest,
        "sample": answer.sample,
        "answer": answer.text,
        "stop": answer.stop,
        "tokens": {"prompt": answer.prompt_tokens, "answer": answer.answer_tokens},
        "seconds": answer.seconds,
        "seed": answer.seed,
        "model": cast(RecordModel, model),
        "settings": settings,
        "verdict": judged["verdict"],
        "detail": judged["detail"],
    }
    if previous:
        record["previous"] = previous
    return record


class Recorder:
    """Appends records to a file. Other processes may append to the same file at the same time.

    A process that is killed loses at most the record that it is writing: the next writer removes the part that is
    there, so every line is whole but possibly the last.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; create it and its folder if they are missing. Raises OSError."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(self, record: Record) -> None:
        """Append one record, whose first key must be `schema`. Raises RecordError, for example on a full disk."""
        try:
            self._append(json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise RecordError(
                f"{self._path}: the record of a sample can't be written: {error.strerror}. The samples before it are "
                "kept: --llmc-resume goes on with the others"
            ) from error

    def _append(self, line: bytes) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._mend_end()
            while line:
                line = line[os.write(self._file, line) :]
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file. Nothing can be written afterwards."""
        os.close(self._file)

    def _mend_end(self) -> None:
        """Remove a partial record at the end of the file; give any other last line the newline that it lacks."""
        size = os.fstat(self._file).st_size
        if size == 0 or os.pread(self._file, 1, size - 1) == b"\n":
            return
        start = self._find_last_line(size)
        tail = os.pread(self._file, size - start, start)
        if _is_partial_record(tail):
            os.ftruncate(self._file, start)
        else:
            os.write(self._file, b"\n")

    def _find_last_line(self, size: int) -> int:
        """The offset of the last line of a file of `size` bytes. Reads backwards: records can be megabytes long."""
        end = size
        while end > 0:
            start = max(0, end - _READ_SIZE)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0


_READ_SIZE = 65536
"""Bytes that are read at once in search of the last line: more than most records have."""
_FIRST_KEY = b'{"schema": '
"""The first bytes of every line that `Recorder` writes."""


def _is_partial_record(tail: bytes) -> bool:
    """Whether a last line without a newline is the beginning of a record. Anything else in the file is kept."""
    if not (tail.startswith(_FIRST_KEY) or _FIRST_KEY.startswith(tail)):
        return False
    try:
        json.loads(tail)
    except ValueError:
        return True
    return False
