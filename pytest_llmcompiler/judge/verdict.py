"""The judgement of one sample, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.capture import Reproducer

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


@dataclass(frozen=True)
class Verdict:
    """What was found out about one answer.

    `str(verdict)` is the whole report for people: the message and the evidence below it.
    """

    kind: Kind
    message: str = ""
    """One line that says what went wrong; empty for `pass`."""
    evidence: tuple[str, ...] = ()
    """Lines for people: the input in C terms, expected and observed, the faulting instruction."""
    detail: dict[str, Any] = field(default_factory=dict)
    """JSON-serialisable facts for programs: the assembler used, counts of inputs, line and column."""
    reproducer: Reproducer | None = field(default=None, repr=False, compare=False)
    """All that it takes to show the same failure elsewhere, where that was asked for. No part of the JSON."""

    def __post_init__(self) -> None:
        # What models write goes to terminals: nothing in it may act there.
        object.__setattr__(self, "message", harmless(self.message))
        object.__setattr__(self, "evidence", tuple(map(harmless, self.evidence)))

    @property
    def passed(self) -> bool:
        """True for `pass` alone: `inconclusive` is neither a pass nor a failure."""
        return self.kind == "pass"

    @property
    def conclusive(self) -> bool:
        """False where the harness could not judge."""
        return self.kind != "inconclusive"

    def __str__(self) -> str:
        head = f"{self.kind}: {self.message}" if self.message else self.kind
        return "\n".join((head, *self.evidence))

    def to_json(self) -> dict[str, Any]:
        """The verdict as a JSON object; `from_json` reads it back."""
        return {
            "verdict": self.kind,
            "detail": {
                "message": self.message,
                "evidence": list(self.evidence),
                **self.detail,
            },
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Verdict:
        """Read what `to_json` made. Raises KeyError or ValueError on anything else."""
        if data["verdict"] not in KINDS:
            raise ValueError(f"unknown verdict {data['verdict']!r}, expected one of {', '.join(KINDS)}")
        detail = dict(data["detail"])
        return cls(data["verdict"], detail.pop("message"), tuple(detail.pop("evidence")), detail)


def harmless(text: str) -> str:
    """A text without what acts on a terminal: control characters are spelt out."""
    return "".join(c if c.isprintable() or c in "\t\n" else c.encode("unicode_escape").decode() for c in text)
