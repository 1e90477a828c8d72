"""The judgement of one sample, with its evidence for people and its facts for programs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

Kind = Literal[
    "pass",
    "no-answer",
    "truncated",
    "assemble",
    "link",
    "crash",
    "hang",
    "mismatch",
    "abi",
    "inconclusive",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Every verdict, in the order of the pipeline. The names are public and stable."""
RUN_FAILURES: tuple[Kind, ...] = ("crash", "hang", "mismatch", "abi")
"""The verdicts on code that assembled, linked and failed on an input."""


class DifferenceRow(NamedTuple):
    """One difference between the reference and the candidate, as text for people."""

    location: str
    """The C expression for the place, such as `return value` or `out[3]`."""
    expected: str
    """The value that the reference leaves there."""
    observed: str
    """The value that the candidate leaves there."""


@dataclass(frozen=True)
class Counterexample:
    """An input on which the candidate fails, and what the candidate does wrong on it.

    Unless the judge was asked not to explain, it is the smallest such input that was found.
    """

    input: tuple[str, ...]
    """The input as C would initialise it, in lines: `buf = "diff", size = 5`. For a failure of the whole program, the
    one line `the whole program, from main on`."""
    expected: str
    """What the reference does: for a mismatch, the value at the first difference. Empty where it is not known, as in
    records of earlier versions."""
    observed: str
    """What the candidate does: for a mismatch, the value at the first difference, otherwise the fault in words."""
    line: int | None
    """The line of the candidate's text in which it fails, counted from 1; None where no line can be named."""
    divergence_line: int | None
    """The line of the candidate's text at which its execution first differs from the reference's, counted from 1; None
    where that is not known."""
    differences: tuple[DifferenceRow, ...]
    """The first differences in values, six at most; empty unless the verdict is `mismatch`."""


@dataclass(frozen=True)
class Verdict:
    """The judgement of one answer.

    `str(verdict)` is the whole report for people: the message, and below it the evidence.
    """

    kind: Kind
    message: str = ""
    """One line that says what went wrong; empty for `pass`."""
    evidence: tuple[str, ...] = ()
    """Lines for people: the input in C terms, expected and observed values, the faulting instruction."""
    detail: dict[str, Any] = field(default_factory=dict)
    """JSON-serialisable facts for programs, such as the assembler that was used, counts of inputs, line and column.
    `record.schema.json` describes the stable ones."""

    def __post_init__(self) -> None:
        # The message and the evidence quote text of a model and are printed on terminals.
        object.__setattr__(self, "message", harmless(self.message))
        object.__setattr__(self, "evidence", tuple(map(harmless, self.evidence)))

    @property
    def passed(self) -> bool:
        """True for `pass` alone: `inconclusive` is neither a pass nor a failure."""
        return self.kind == "pass"

    @property
    def conclusive(self) -> bool:
        """False for `inconclusive`, where the harness could not judge."""
        return self.kind != "inconclusive"

    @property
    def counterexample(self) -> Counterexample | None:
        """The input that shows the failure of code that ran; None for every verdict but `crash`, `hang`, `mismatch` and
        `abi`.

        It is read from `detail`, so it survives `to_json` and `from_json`. Line numbers are those of the assembly that
        was judged, which is in `detail["lowered"]` where the answer was not assembly.
        """
        if self.kind not in RUN_FAILURES:
            return None
        differences = tuple(_difference_rows(self.detail.get("differences")))
        return Counterexample(
            input=tuple(_texts(self.detail.get("input"))),
            expected=differences[0].expected if differences else _text(self.detail.get("expected")),
            observed=differences[0].observed if differences else _text(self.detail.get("observed")) or self.message,
            line=_line_number(self.detail.get("line")),
            divergence_line=_line_number(self.detail.get("parts")),
            differences=differences,
        )

    @property
    def scene(self) -> None:
        """Deprecated, and always None, as it always was in verdicts of `check`."""
        warnings.warn("Verdict.scene is gone; use Verdict.counterexample", DeprecationWarning, stacklevel=2)

    def __str__(self) -> str:
        head = f"{self.kind}: {self.message}" if self.message else self.kind
        return "\n".join((head, *self.evidence))

    def to_json(self) -> dict[str, Any]:
        """The verdict as a JSON object, which `from_json` reads back."""
        return {
            "verdict": self.kind,
            "detail": {
                "message": self.message,
                "evidence": list(self.evidence),
                **self.detail,
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read an object that `to_json` wrote. Raises KeyError or ValueError on anything else."""
        if data["verdict"] not in KINDS:
            raise ValueError(f"unknown verdict {data['verdict']!r}, expected one of {', '.join(KINDS)}")
        detail = dict(data["detail"])
        return cls(data["verdict"], detail.pop("message"), tuple(detail.pop("evidence")), detail)


# The facts of a verdict may come from a file that anybody wrote: what does not have the right type is left out.


def _texts(value: object) -> list[str]:
    """The strings of a JSON array, without control characters."""
    return [harmless(text) for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return harmless(value) if isinstance(value, str) else ""


def _line_number(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _difference_rows(value: object) -> Iterable[DifferenceRow]:
    """The rows of the fact `differences`: arrays of location, expected and observed value."""
    for row in value if isinstance(value, list) else []:
        texts = _texts(row)
        if len(texts) == 3:
            yield DifferenceRow(*texts)


def harmless(text: str) -> str:
    """A text in which control characters, which a terminal would act on, are written as escapes."""
    if text.replace("\n", "").replace("\t", "").isprintable():  # nearly always: it is a hundred times as fast
        return text
    return "".join(c if c.isprintable() or c in "\t\n" else c.encode("unicode_escape").decode() for c in text)
