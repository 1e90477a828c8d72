"""The budget of a function's corpus: how much its runs may cost together, and how long a single one may take.

Costs are counted in *steps*: an edge between basic blocks, or a comparison that the probe records, is one step. It
takes about 0.25 µs. A count is the same on every machine and under every load, so the same inputs are generated
everywhere; seconds would not be.

Example: a triple loop over a matrix takes 350,000 edges whatever its input is. The first runs end at the limit of
300,000 edges, and nothing is learned from them. After some of them the limit rises, and each input that counts costs
10 million steps. So three or four are generated instead of a hundred, and the rest is said to be cut.
"""

from __future__ import annotations

from typing import Literal

from pytest_llmcompiler.corpus.probing import MAX_STEPS

Phase = Literal[
    "main", "first drawing", "drawing", "special values", "mutation", "seeds", "lengthening", "reaching", "varying"
]
"""A part of generating a corpus, in the order in which they follow each other."""
_SHARES: dict[Phase, float] = {
    "main": 0.2,
    "first drawing": 0.4,
    "drawing": 0.7,
    "special values": 0.8,
    "mutation": 0.9,
    "seeds": 0.95,
    "lengthening": 0.97,
    "reaching": 0.99,
    "varying": 1.0,
}
"""The share of the budget that may be spent when a phase ends. What a phase leaves is there for the later ones. Drawn
inputs come early and get most, since they differ most from each other."""
_BUDGET_PER_EXAMPLE, _LEAST_BUDGET = 400_000, 16_000_000
"""Steps for each input that is to be generated, and for all together at least: with 100 inputs 10 s. A function
without long loops needs a tenth of it."""
_LEAST_ENTRIES = 3
"""Entries up to which inputs are drawn even if the budget of the phase is spent, as long as the whole is not."""
_MOST_BYTES = 256 << 20
"""Bytes of global variables that the entries of a corpus keep, all together."""

_MEASURING_ENTRIES = 8
"""The first entries of a corpus. They set the scale for the length and the cost of the later ones."""
_MIN_STEP_LIMIT = 8_000
"""Least limit of a run, in edges, once the first entries are there."""
_GENEROUS_WASTE = 3_000_000
"""Steps that may be spent on runs which end at the generous limit. It is then lowered: one of the short runs that most
functions have is found by trying more inputs."""
_FEW_ENTRIES_FACTOR = 8
"""How much longer than the shortest run another may be then, as long as there are few entries."""
_SHORT_ATTEMPTS = 30
"""Runs with the lowered limit, after which the function is taken for one that takes long on every input."""
_RAISED_WASTE = 10_000_000
"""Steps that may be spent on runs which end at the raised limit. Then the function is given up."""
_RAISED_LIMIT, _RAISED_COST = 2_400_000, 8_000_000
"""The raised limit of a run in edges, and what it may cost in steps: the lower one holds."""


RESTORED_EDGES = 2 * _RAISED_LIMIT
"""The limit of a run on an input that was accepted before, in edges: more than it can take."""


class RunLimit:
    """How many edges the next probe run may take. It follows what the runs before it took.

    1. Generous, for the first entries.
    2. Then at least twice the shortest of them: an input that takes much longer costs every candidate the same again.
    3. Low, once runs that ended at the generous limit have cost too much.
    4. Raised, where even then no input is short enough.
    """

    def __init__(self) -> None:
        self._lengths: list[int] = []
        """The edges of the first entries."""
        self._wasted, self._short_attempts = 0, 0
        self._cost_per_edge = 1.0
        """Steps for each edge, in the last run that took too long."""
        self._raised = 0
        """The raised limit; 0 before it is raised."""

    @property
    def edges(self) -> int:
        """The limit of the next run."""
        if self._lengths and len(self._lengths) >= _MEASURING_ENTRIES:
            return max(_MIN_STEP_LIMIT, 2 * min(self._lengths))
        if self._lengths and self._wasted > _GENEROUS_WASTE:
            return max(_MIN_STEP_LIMIT, _FEW_ENTRIES_FACTOR * min(self._lengths))
        if self._raised:
            return self._raised
        return _MIN_STEP_LIMIT if self._wasted > _GENEROUS_WASTE else MAX_STEPS

    @property
    def is_hopeless(self) -> bool:
        """Whether every run takes too long, with the raised limit too."""
        return not self._lengths and bool(self._raised) and self._wasted > _RAISED_WASTE

    def note_entry(self, edges: int) -> None:
        """An input was added, whose run took so many edges."""
        if len(self._lengths) < _MEASURING_ENTRIES:
            self._lengths.append(edges)

    def note_failure(self, limit: int, cost: int, *, is_too_long: bool) -> None:
        """An input was dropped, after runs that cost so many steps. `limit` was that of its run in edges."""
        if is_too_long and limit >= MAX_STEPS:
            self._wasted += cost
            self._cost_per_edge = max(1.0, cost / limit)
        elif not self._lengths and self._wasted > _GENEROUS_WASTE and not self._raised:
            self._short_attempts += 1
            if self._short_attempts >= _SHORT_ATTEMPTS:
                self._raised = max(MAX_STEPS, min(_RAISED_LIMIT, int(_RAISED_COST / self._cost_per_edge)))
                self._wasted = 0


class Budget:
    """What the runs for a corpus of so many generated inputs may cost, and what they have cost, in steps."""

    def __init__(self, examples: int) -> None:
        self.total = max(_LEAST_BUDGET, _BUDGET_PER_EXAMPLE * examples)
        self.spent = 0
        self._most_entries: int | None = None
        self.cut: dict[str, list[int]] = {}
        """The phases that ended early: what they did, and what they would have done."""

    def limit_memory(self, entry_bytes: int) -> None:
        """Limit the number of entries to what fits the memory. An entry has the contents of all global variables."""
        if entry_bytes:
            self._most_entries = max(_LEAST_ENTRIES, _MOST_BYTES // entry_bytes)

    def charge(self, steps: int) -> None:
        """Count the cost of a run."""
        self.spent += steps

    def allows(self, phase: Phase, entries: int) -> bool:
        """Whether a phase may go on, with so many entries in the corpus."""
        if self._most_entries is not None and entries >= self._most_entries:
            return False
        share = 1.0 if entries < _LEAST_ENTRIES and phase in ("main", "first drawing", "drawing") else _SHARES[phase]
        return self.spent < share * self.total

    def note_cut(self, phase: Phase, done: int, planned: int) -> None:
        """A phase ends early."""
        name = "drawing" if phase == "first drawing" else phase
        before = self.cut.get(name, [0, 0])
        self.cut[name] = [before[0] + done, before[1] + planned]
