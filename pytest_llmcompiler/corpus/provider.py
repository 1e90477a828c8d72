"""hypothesis's own choices, without two habits that serve bug hunting but not a corpus.

By default hypothesis also tries the literals of the modules that happen to be loaded, so that one seed gives other
inputs in another process; and most of its examples are variations of earlier ones. As a backend of its own, every
example is drawn anew, from the strategy and the seed alone. (hypothesis's documentation: "Alternative backends".)
"""

from __future__ import annotations

from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants

BACKEND = "llmc"
"""What `hypothesis.settings(backend=…)` knows it by."""


class UnbiasedProvider(HypothesisProvider):
    """Draws as hypothesis does, and knows no constants but those of the strategies."""

    _local_constants = Constants()


AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.{UnbiasedProvider.__name__}"
