"""How the next token of an answer is chosen: greedy, or by temperature and top-p with a seed of its own."""

from __future__ import annotations

from typing import Any

from pytest_llmcompiler.model.answer import Sampling
from pytest_llmcompiler.model.llama.context import LlamaContext


class TokenSampler:
    """llama.cpp's chain of samplers for one answer. Its random numbers depend on the seed alone."""

    def __init__(self, sampling: Sampling, seed: int) -> None:
        import llama_cpp

        params = llama_cpp.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = llama_cpp.llama_sampler_chain_init(params)
        for link in _create_links(sampling, seed):
            llama_cpp.llama_sampler_chain_add(self._chain, link)

    def sample(self, context: LlamaContext, row: int) -> int:
        """Choose the token that follows the one in a row of the last batch."""
        import llama_cpp

        return int(llama_cpp.llama_sampler_sample(self._chain, context.handle, row))

    def close(self) -> None:
        """Free the chain with its links."""
        import llama_cpp

        llama_cpp.llama_sampler_free(self._chain)


def _create_links(sampling: Sampling, seed: int) -> list[Any]:
    import llama_cpp

    if sampling.temperature <= 0:
        return [llama_cpp.llama_sampler_init_greedy()]
    top_p = [llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1)] if sampling.top_p < 1 else []
    temperature = llama_cpp.llama_sampler_init_temp(sampling.temperature)
    return [*top_p, temperature, llama_cpp.llama_sampler_init_dist(seed)]
