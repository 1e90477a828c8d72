"""The files of the cache that have the suite of a function, by all that it depends on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from pytest_llmcompiler.corpus.store import CorpusFile
from pytest_llmcompiler.emulator.engine_server import has_engine
from pytest_llmcompiler.judge.code_cost import CostFile
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.suite_store import BuildsFile, ImageFile, SuiteFile, SuiteFormat
from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssemblerName


class SuiteFiles:
    """The files of one suite. `numbers` are the number of examples and the random seed."""

    def __init__(self, under_test: FunctionUnderTest, rules: Mapping[int, ArgRule], numbers: tuple[int, int]) -> None:
        self._under_test, self._reference = under_test, under_test.reference
        self._rules, self._numbers = repr(sorted(rules.items())), repr(numbers)

    @functools.cached_property
    def _settings(self) -> tuple[str, ...]:
        """What a suite depends on beside the program. Where there is an engine, it finds inputs that the probe does not
        find, and chooses those that show seeded faults: without one, suites are other ones."""
        engine = "engine" if has_engine() else "no engine"
        texts = repr([given.data for given in self._reference.case.given_inputs])
        return self._reference.target.name, self._under_test.function, self._rules, self._numbers, engine, texts

    @functools.cached_property
    def corpus(self) -> CorpusFile:
        """The inputs. The key has all that they depend on."""
        reference = self._reference
        types = [self._under_test.signature, *reference.variables.values()]
        key = (reference.program_ir_without_path, *reference.headers_digests, *self._settings, *reference.variables)
        return CorpusFile(key, types)

    @functools.cached_property
    def suite(self) -> SuiteFile:
        """The whole suite. The fingerprint of the case also has what builds at -O2 and numbers of lines depend on."""
        return SuiteFile((self._reference.fingerprint, *self._settings), _open_format(self._reference))

    @functools.cached_property
    def image(self) -> ImageFile:
        """The engine's image of the suite."""
        return ImageFile((self._reference.fingerprint, *self._settings), _open_format(self._reference))

    @functools.cached_property
    def builds(self) -> BuildsFile:
        """What explaining failures needs beside the suite."""
        return BuildsFile((self._reference.fingerprint, *self._settings), _open_format(self._reference))

    def costs(self, assembler: AssemblerName) -> CostFile:
        """What clang's own code of the function costs, assembled by an assembler."""
        return CostFile((_open_format(self._reference).digest, self._reference.fingerprint, *self._settings, assembler))


_FORMATS: WeakKeyDictionary[Reference, SuiteFormat] = WeakKeyDictionary()


def _open_format(reference: Reference) -> SuiteFormat:
    """How the suites of a case are stored."""
    if reference not in _FORMATS:
        signatures, externals = reference.signatures.values(), reference.external_functions.values()
        segments = [part.data for part in reference.golden.segments]
        _FORMATS[reference] = SuiteFormat([*signatures, *reference.variables.values(), *externals], segments)
    return _FORMATS[reference]
