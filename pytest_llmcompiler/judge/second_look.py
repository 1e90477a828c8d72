"""The second look: a candidate that passes all inputs of the suite is run on inputs that are made for it.

The suite is made from the reference alone, before any candidate is seen. So code that goes wrong only where its own
constants say so may pass it. The engine searches for inputs on which a passing candidate differs (see
docs/pages/internals/second_look.md) and returns *leads*. A lead fails nobody: here it becomes an input as those of
suites are, the oracle says whether the function is defined on it and what is expected, and the candidate is run on it
as on any other input.

What a search finds depends on the seed, the function, the candidate's text and the effort alone. Inputs that failed
earlier answers to the same question can be given with a candidate (`judge/taught_inputs.py`); they are tried first.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pytest_llmcompiler.corpus.probing import MAX_STEPS, UndefinedInputError
from pytest_llmcompiler.emulator.engine_look import MAX_CHANGES, Lead, LookRequest
from pytest_llmcompiler.emulator.engine_server import EngineResult
from pytest_llmcompiler.judge.answer_texts import TokenFinder, choose_bases, vary_texts
from pytest_llmcompiler.judge.code_constants import find_constants, list_constants
from pytest_llmcompiler.judge.engine_fuzzing import change_input
from pytest_llmcompiler.judge.failure import evidence_line
from pytest_llmcompiler.judge.function_engine import is_settled
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.suite import Suite
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.input import Input, find_standard_input, set_standard_input

_KEPT_ENTRIES = 64
"""Inputs of leads whose entries, or that they have none, are kept: candidates for a function lead to the same ones."""
_KEPT_REQUESTS = 256
"""Requests that are kept, about 1 KB each."""
_KEPT_PASSES = 1024
"""Pairs of code and lead that are kept: a passing candidate has none or a few."""

_TEXT_TRIES, _TEXT_INSTRUCTIONS = 48, 8 << 20
"""With effort 1, how many texts for standard input are tried, and how many instructions a candidate may execute on
them. A text that is dropped counts as its share of these. One that would take a quarter of them is dropped, so that
few texts hide no others."""
_TEXT_STEPS = 5_000
"""With effort 1, the steps of the probe after which a text is dropped. A step executes some 15 bytes of code or more,
and a candidate may execute 32 instructions for each, so it would take more than a quarter of `_TEXT_INSTRUCTIONS`."""


InputSource = Literal["look", "taught", "proof"]
"""Who made an input: the engine for this candidate, the engine for an earlier one, or the prover."""


@dataclass(frozen=True)
class LookedInput:
    """An input that a candidate is to be judged by, with the suite of this input alone."""

    lead: Lead | None
    """None for an input with another text for standard input, which no lead names."""
    suite: Suite
    source: InputSource

    @property
    def shows_compiler_bug(self) -> bool:
        """Whether clang -O2 computes the function wrongly on it."""
        return any(entry.bug for entry in self.suite.corpus.entries.values())


class SecondLook:
    """The second look at the candidates for one function."""

    def __init__(self, suite: Suite, effort: float, seed: int) -> None:
        self._suite, self._effort, self._seed = suite, effort, seed
        self._entries: dict[Input, SuiteEntry | None] = {}
        """What the oracle said of the inputs of leads; None where the function is not defined."""
        self._known: frozenset[int] | None = None
        self._requests: dict[tuple[bytes, tuple[Lead, ...]], LookRequest] = {}
        """By the identity of the candidate's code, and what was taught with it."""
        self._passed: dict[tuple[bytes, Lead], None] = {}
        """Identities of code that passed the inputs of leads; the last ones are at the end."""

    @property
    def is_on(self) -> bool:
        """Whether there is a second look."""
        return self._effort > 0

    def has_looked(self, result: EngineResult) -> bool:
        """Whether a candidate that passes got a second look. Where the engine could not run all of the suite, it
        looked if the candidate showed the same as far as that goes."""
        return self.is_on and (is_settled(result) or result.look_inputs > 0)

    def build_request(self, candidate: AssembledCode, taught: Sequence[Lead]) -> LookRequest | None:
        """What the engine is asked for a candidate; None where there is no second look. `taught` are inputs that failed
        earlier candidates. Texts that are assembled to the same code get the same look."""
        if not self.is_on:
            return None
        key = candidate.identity, tuple(taught)
        request = self._requests.get(key)
        if request is None:
            if len(self._requests) >= _KEPT_REQUESTS:
                del self._requests[next(iter(self._requests))]
            request = self._requests[key] = self._build_request(candidate, taught)
        return request

    def _build_request(self, candidate: AssembledCode, taught: Sequence[Lead]) -> LookRequest:
        under_test = self._suite.under_test
        processor = under_test.reference.target.processor
        known = self._find_known()
        constants = find_constants(candidate, under_test.function, processor, known, with_data=True)
        what = f"{self._seed}\0{under_test.function}\0{candidate.digest}"
        seed = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "little")
        return LookRequest(seed, self._effort, constants, tuple(taught))

    def list_inputs(
        self, leads: Sequence[Lead], taught: Collection[Lead], source: InputSource = "look"
    ) -> Iterator[LookedInput]:
        """The inputs of leads, as far as the function is defined on them. `source` is that of those that nobody
        taught."""
        if leads:
            self._suite.prepare_to_explain()  # so that accepting an input finds the same builds in every process
        for lead in leads:
            input = self._read_lead(lead)
            entry = self._accept(input) if input is not None else None
            if input is not None and entry is not None:
                yield LookedInput(lead, self._suite.with_inputs({input: entry}), "taught" if lead in taught else source)

    def preview_texts(self, candidate: AssembledCode) -> dict[Input, SuiteEntry]:
        """Inputs in which standard input has the candidate's own numbers and words in it, with what the oracle expects
        at first sight. Those on which the candidate differs are for `accept_inputs`."""
        bases = self._text_bases if self.is_on else {}
        tokens = self._token_finder.find(candidate) if bases else None
        if not tokens:
            return {}
        self._suite.oracle.open()
        entries: dict[Input, SuiteEntry] = {}
        left = round(self._effort * _TEXT_INSTRUCTIONS)
        for base, text in itertools.islice(vary_texts(list(bases), tokens), round(self._effort * _TEXT_TRIES)):
            input = set_standard_input(bases[base], text)
            entry = self._preview_text(input)
            left -= entry.limit if entry else _TEXT_INSTRUCTIONS // _TEXT_TRIES
            if left < 0:
                break
            if entry:
                entries[input] = entry
        return entries

    def _preview_text(self, input: Input) -> SuiteEntry | None:
        """The entry of an input at first sight; None where the function is not defined, or takes too much of all."""
        steps = min(math.ceil(self._effort * _TEXT_STEPS), MAX_STEPS)
        try:
            entry = self._suite.oracle.preview(input, steps)
        except UndefinedInputError:
            return None
        return entry if entry.limit <= self._effort * _TEXT_INSTRUCTIONS / 4 else None

    def accept_inputs(self, inputs: Sequence[Input]) -> Iterator[LookedInput]:
        """Inputs on which a candidate seems to differ, as far as the function is defined on them."""
        if inputs:
            self._suite.prepare_to_explain()
        for input in inputs:
            entry = self._accept(input)
            if entry is not None:
                yield LookedInput(None, self._suite.with_inputs({input: entry}), "look")

    @functools.cached_property
    def _text_bases(self) -> dict[bytes, Input]:
        """Texts for standard input that are changed, with an input of the suite for each; none where the function does
        not read."""
        under_test = self._suite.under_test
        if not under_test.reference.reads_standard_input(under_test.function):
            return {}
        inputs = ((find_standard_input(input), input) for input in self._suite.corpus.entries)
        texts = {text: input for text, input in inputs if text}
        return {text: texts[text] for text in choose_bases(list(texts))}

    @functools.cached_property
    def _token_finder(self) -> TokenFinder:
        under_test = self._suite.under_test
        return TokenFinder(under_test.reference.golden, [under_test.function])

    def note_pass(self, candidate: AssembledCode, lead: Lead | None) -> None:
        """A candidate has passed the input of a lead, so other texts with the same code need not run on it."""
        if lead is not None and not candidate.binding_alternatives:
            self._passed[candidate.identity, lead] = None
        if len(self._passed) > _KEPT_PASSES:
            del self._passed[next(iter(self._passed))]

    def has_passed(self, candidate: AssembledCode, lead: Lead | None) -> bool:
        """Whether the same code has passed the input of a lead."""
        return lead is not None and not candidate.binding_alternatives and (candidate.identity, lead) in self._passed

    def _find_known(self) -> frozenset[int]:
        """The constants of the reference's own code."""
        if self._known is None:
            golden = self._suite.under_test.reference.golden
            symbol = golden.symbols[self._suite.under_test.function]
            code = golden.read_initial(symbol)
            self._known = frozenset(list_constants(code, symbol.address, golden.target.processor))
        return self._known

    def _read_lead(self, lead: Lead) -> Input | None:
        """The input of a lead, which hostile code may have written; None where it is none."""
        inputs = [*self._suite.corpus.entries, *self._suite.corpus.reserve]
        if not 0 <= lead.entry < len(inputs):
            return None
        input = change_input(inputs[lead.entry], lead)
        return self._suite.under_test.possible_values.restrict(input) if input is not None else None

    def _accept(self, input: Input) -> SuiteEntry | None:
        """The oracle's word on an input: its entry, or None where the function is not defined."""
        if input in self._suite.corpus.entries:
            return None  # the suite has it, and the candidate passes the suite
        if input not in self._entries:
            self._suite.oracle.open()
            try:
                entry = self._suite.oracle.accept(input)
            except UndefinedInputError:
                entry = None
            if len(self._entries) >= _KEPT_ENTRIES:
                del self._entries[next(iter(self._entries))]
            self._entries[input] = entry
        return self._entries[input]


def describe_look(result: EngineResult) -> dict[str, Any]:
    """The fact `second_look` of a verdict."""
    return {"inputs": result.look_inputs, "leads": len(result.leads)}


def add_evidence(verdict: Verdict, looked: LookedInput) -> Verdict:
    """The verdict on a candidate that fails an input which is not in the suite, which says so."""
    if looked.source == "proof":
        line = evidence_line("proof", "the solver computed the input from this code, which passes all other inputs")
        return replace(verdict, evidence=(*verdict.evidence, line))
    is_taught, fact = looked.source == "taught", verdict.detail["second_look"]
    if looked.lead is not None:
        fact = {**fact, "input": encode_lead(looked.lead), "taught": is_taught}
    source = "an earlier answer; this code" if is_taught else "this code, which"
    line = evidence_line("look", f"the input was made for {source} passes the inputs that all answers get")
    return replace(verdict, evidence=(*verdict.evidence, line), detail=verdict.detail | {"second_look": fact})


def encode_lead(lead: Lead) -> dict[str, Any]:
    """A lead as JSON."""
    return {"entry": lead.entry, "numbers": [list(pair) for pair in lead.numbers]}


def decode_lead(data: object) -> Lead | None:
    """Read what `encode_lead` wrote; None for anything else, which a file may hold."""
    entry, numbers = (data.get("entry"), data.get("numbers")) if isinstance(data, dict) else (None, None)
    if not _is_word(entry, 32) or not isinstance(numbers, list) or len(numbers) > MAX_CHANGES:
        return None
    pairs = [pair for pair in numbers if isinstance(pair, list) and len(pair) == 2]
    if len(pairs) < len(numbers) or not all(_is_word(index, 32) and _is_word(value, 64) for index, value in pairs):
        return None
    return Lead(cast(int, entry), tuple((index, value) for index, value in pairs))


def _is_word(value: object, bits: int) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << bits
