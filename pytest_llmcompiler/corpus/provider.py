"""hypothesis's own choices, without two habits that help to find bugs but harm a corpus.

By default hypothesis also tries the literals of the modules that happen to be loaded: then one random seed gives other
inputs in another process. And most of its examples are variations of earlier ones. With a backend of its own, every
example is drawn anew, from the strategy and the random seed alone (hypothesis's documentation, "Alternative backends").
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

from hypothesis.internal.cache import LRUCache
from hypothesis.internal.conjecture import providers
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants

BACKEND = "llmc"
"""The name of the backend, for `hypothesis.settings(backend=…)`."""


class UnbiasedProvider(HypothesisProvider):
    """Draws as hypothesis does, but knows no constants except those of the strategies."""

    _local_constants = Constants()


_known_constants: LRUCache[providers.CacheKeyT, providers.CacheValueT] = LRUCache(1024)
"""The constants that lie in a range, for as many ranges as hypothesis keeps. hypothesis's own collection holds those of
loaded modules too, for each range that another user of hypothesis in this process has drawn from."""


@contextlib.contextmanager
def ignore_local_constants() -> Iterator[None]:
    """Let hypothesis know no constants of loaded modules, not even those that it has found for others before.

    Its shrinker draws with hypothesis's own backend, whatever backend is chosen. The first such draw would parse all
    modules, which takes half a second.
    """
    with (
        patch.object(HypothesisProvider, "_local_constants", UnbiasedProvider._local_constants),
        patch.object(providers, "CONSTANTS_CACHE", _known_constants),
    ):
        yield


AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.{UnbiasedProvider.__name__}"
