"""Ask a model for held-out functions, and judge its answers with the plugin. Started again, it resumes.

    python training/evaluate.py FOLDER tiny.gguf --functions 1000 --samples 10

Every function is answered once greedily and `--samples` times at temperature 0.8. Results are appended to
FOLDER/results-NAME.jsonl, where NAME is that of the model file.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import programs
from generate import HELD_OUT, HELD_OUT_LONGER, write_file

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.model.answer import Answer, Model, ModelSettings, Prompt, QuestionKey, Sampling
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.model.prompt import Template
from pytest_llmcompiler.model.specs import open_model
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.program.short import restore_names
from pytest_llmcompiler.report.passk import BEFORE_CODE, SampleCounts, estimate

_FUNCTIONS_PER_CASE = 20
"""The number of functions in one case. Compiling and linking a case takes about as long for one function as for 20."""
_TEMPERATURE = 0.8
"""The temperature of the answers for pass@k: the plugin's own default for several samples."""
_LENGTHS = (10, 20, 40, 80)
"""Upper bounds of the groups of functions in the table, in lines of the expected answer."""

Pairs = list[dict[str, str]]
"""Records of functions with their prompts and expected answers."""


def write_cases(folder: Path, count: int) -> Iterator[tuple[Path, Pairs]]:
    """Write held-out functions as C files. Yields each file with the records of its functions."""
    pairs = list(_read_held_out(folder, count))
    for start in range(0, len(pairs), _FUNCTIONS_PER_CASE):
        group = pairs[start : start + _FUNCTIONS_PER_CASE]
        path = folder / "held-out" / f"held_out_{start}.c"
        path.parent.mkdir(exist_ok=True)
        sources = []
        for number, pair in enumerate(group, start):
            name = f"held_out_{number}"
            sources.append(pair["source"].replace(f" {pair['function']}(", f" {name}(", 1))
            pair["function"] = name
        text = programs.PRELUDE + "\n".join(sources)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        yield path, group


def _read_held_out(folder: Path, count: int) -> Iterator[dict[str, str]]:
    """Records of functions with different prompts: half of them short, half of them longer."""
    seen: set[str] = set()
    for number, most in ((HELD_OUT, count // 2), (HELD_OUT_LONGER, count)):
        for line in write_file(folder, number).open(encoding="utf-8"):
            pair = json.loads(line)
            if pair["prompt"] not in seen and len(seen) < most:
                seen.add(pair["prompt"])
                yield pair


class Evaluation:
    """A model and its results so far."""

    def __init__(self, model: Path, results: Path, samples: int, examples: int) -> None:
        self._results, self._samples = results, samples
        self._template = Template.load("tiny")
        self._greedy: Model = open_model(str(model), ModelSettings())
        self._sampled: Model = open_model(str(model), ModelSettings(Sampling(_TEMPERATURE)))
        self._settings = JudgeSettings(examples=examples)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
        self.records: dict[str, dict[str, Any]] = {record["function"]: record for record in map(json.loads, lines)}

    def add(self, reference: Reference, pair: dict[str, str]) -> None:
        """Judge the model's answers for a function, unless the results have it."""
        function = pair["function"]
        if function in self.records:
            return
        short = reference.texts.short_ir(function)
        if short.text != pair["prompt"]:
            raise ValueError(f"{reference.case.path}::{function}: the prompt is not that of training\n{short.text}")
        text = self._template.render({"short_ir": short.text})
        prompt = Prompt(
            case=reference.case.name,
            function=function,
            task="asm",
            passes="O0",
            template=self._template.name,
            text=text,
            reference=lambda: "",
            symbol_names=short.names,
        )
        [greedy] = self._greedy.answers(prompt, 1)
        sampled = list(self._sampled.answers(prompt, self._samples))
        harness = Harness(reference, function, self._settings)
        verdict = functools.cache(lambda text, stop: _judge(harness, function, Answer(text, stop=stop)))
        expected = pair["answer"]
        record = {
            "function": function,
            "lines": expected.count("\n"),
            "exact": greedy.text == restore_names(expected, short.names),
            "greedy": verdict(greedy.text, greedy.stop),
            "warm": [verdict(answer.text, answer.stop) for answer in sampled],
        }
        self.records[function] = record
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """End the models' processes."""
        for model in (self._greedy, self._sampled):
            model.close()


def evaluate(options: argparse.Namespace, results: Path, cases: Sequence[tuple[Path, Pairs]]) -> list[dict[str, Any]]:
    """The records of the functions of some cases."""
    evaluation = Evaluation(options.gguf, results, options.samples, options.examples)
    records: list[dict[str, Any]] = []
    try:
        for path, pairs in cases:
            reference = Reference(read_case(path), Toolchain())
            for pair in pairs:
                evaluation.add(reference, pair)
                records.append(evaluation.records[pair["function"]])
            passed = sum(record["greedy"] == "pass" for record in records)
            print(f"{len(records)} functions: {passed} correct", flush=True)
    finally:
        evaluation.close()
    return records


def _judge(harness: Harness, function: str, answer: Answer) -> str:
    try:
        return harness.judge(extract_assembly(answer, function).text, explain=False).kind
    except NoCodeError:
        return "no-answer"
    except TruncatedError:
        return "truncated"


def format_table(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The results as a Markdown table, of all functions and by the length of the expected answer: percentages with 95
    percent intervals."""
    judged = [record for record in records if record["greedy"] != "inconclusive"]
    yield "| lines | functions | assembles | exact | right (greedy) | pass@1 | pass@5 | pass@10 |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield _format_row("all", judged)
    for low, high in zip((0, *_LENGTHS), (*_LENGTHS, None)):
        group = [record for record in judged if low < record["lines"] <= (high or record["lines"])]
        if group:
            yield _format_row(f"{low + 1} to {high}" if high else f"over {low}", group)
    yield ""
    kinds = Counter(record["greedy"] for record in judged)
    yield "Greedy verdicts: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _format_row(name: str, records: Sequence[dict[str, Any]]) -> str:
    greedy = [record["greedy"] for record in records]
    columns = [
        _format_pass_at_k([[kind not in BEFORE_CODE] for kind in greedy], 1),
        _format_pass_at_k([[record["exact"]] for record in records], 1),
        _format_pass_at_k([[kind == "pass"] for kind in greedy], 1),
    ]
    warm = [[kind == "pass" for kind in record["warm"] if kind != "inconclusive"] for record in records]
    columns += [_format_pass_at_k(warm, k) for k in (1, 5, 10)]
    return f"| {name} | {len(records)} | {' | '.join(columns)} |"


def _format_pass_at_k(passed: Sequence[Sequence[bool]], k: int) -> str:
    """The pass@k of the samples of some functions."""
    verdicts = [tuple("pass" if is_pass else "mismatch" for is_pass in samples) for samples in passed]
    result = estimate(
        [
            SampleCounts(QuestionKey("", str(number), "asm", "O0"), kinds, None, None, 0)
            for number, kinds in enumerate(verdicts)
        ],
        k,
    )
    return f"{100 * result.value:.1f} ({100 * result.low:.0f}-{100 * result.high:.0f})" if result else "-"


def main() -> None:
    """Evaluate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--functions", type=int, default=1000, help="number of held-out functions, up to about 1,300")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--examples", type=int, default=20, help="generated inputs for each function")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    results = options.folder / f"results-{options.gguf.stem}.jsonl"
    all_cases, count = list(write_cases(options.folder, options.functions)), options.processes
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = pool.map(partial(evaluate, options, results), [all_cases[part::count] for part in range(count)])
        done = [record for part in parts for record in part]
    print("\n".join(format_table(done)))


if __name__ == "__main__":
    main()
