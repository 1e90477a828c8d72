"""Ask a model for held-out functions and judge its answers, by the plugin's own means; start it again and it goes on.

    python training/evaluate.py FOLDER tiny.gguf --functions 1000 --samples 10

Every function is answered once greedily and `--samples` times at temperature 0.8. Results are kept in
FOLDER/results-NAME.jsonl, NAME being the file's.
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

_TOGETHER = 20
"""Functions in one case: a case is compiled and linked as a whole."""
_WARM = 0.8
_LENGTHS = (10, 20, 40, 80)
"""Lines of the expected answer up to which functions are reported together."""


Pairs = list[dict[str, str]]
"""Records of functions with their prompts and expected answers."""


def cases(folder: Path, count: int) -> Iterator[tuple[Path, Pairs]]:
    """Held-out functions as C files, each with the records of its functions."""
    pairs = list(_held_out(folder, count))
    for start in range(0, len(pairs), _TOGETHER):
        some = pairs[start : start + _TOGETHER]
        path = folder / "held-out" / f"held_out_{start}.c"
        path.parent.mkdir(exist_ok=True)
        sources = []
        for number, pair in enumerate(some, start):
            name = f"held_out_{number}"
            sources.append(pair["source"].replace(f" {pair['function']}(", f" {name}(", 1))
            pair["function"] = name
        text = programs.PRELUDE + "\n".join(sources)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        yield path, some


def _held_out(folder: Path, count: int) -> Iterator[dict[str, str]]:
    """Records of functions that differ in their prompts: half of them short, half of them longer."""
    seen: set[str] = set()
    for number, most in ((HELD_OUT, count // 2), (HELD_OUT_LONGER, count)):
        for line in write_file(folder, number).open(encoding="utf-8"):
            pair = json.loads(line)
            if pair["prompt"] not in seen and len(seen) < most:
                seen.add(pair["prompt"])
                yield pair


class Evaluation:
    """A model, and the results so far."""

    def __init__(self, model: Path, results: Path, samples: int, examples: int) -> None:
        self._results, self._samples = results, samples
        self._template = Template.load("tiny")
        self._greedy: Model = open_model(str(model), ModelSettings())
        self._warm: Model = open_model(str(model), ModelSettings(Sampling(_WARM)))
        self._settings = JudgeSettings(examples=examples)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
        self.records: dict[str, dict[str, Any]] = {record["function"]: record for record in map(json.loads, lines)}

    def add(self, reference: Reference, pair: dict[str, str]) -> None:
        """Judge the model's answers for a function, unless that was done."""
        function = pair["function"]
        if function in self.records:
            return
        short = reference.texts.short_ir(function)
        if short.text != pair["prompt"]:
            raise ValueError(f"{reference.case.path}::{function}: the prompt is not that of training\n{short.text}")
        text = self._template.render({"short_ir": short.text})
        facts = (reference.case.name, function, "asm", "O0", self._template.name, text)
        prompt = Prompt(*facts, reference=lambda: "", symbol_names=short.names)
        [greedy] = self._greedy.answers(prompt, 1)
        warm = list(self._warm.answers(prompt, self._samples))
        harness = Harness(reference, function, self._settings)
        verdict = functools.cache(lambda text, stop: _verdict(harness, function, Answer(text, stop=stop)))
        expected = pair["answer"]
        record = {
            "function": function,
            "lines": expected.count("\n"),
            "exact": greedy.text == restore_names(expected, short.names),
            "greedy": verdict(greedy.text, greedy.stop),
            "warm": [verdict(answer.text, answer.stop) for answer in warm],
        }
        self.records[function] = record
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """End the processes."""
        for opened in (self._greedy, self._warm):
            opened.close()


def evaluate(options: argparse.Namespace, results: Path, some: Sequence[tuple[Path, Pairs]]) -> list[dict[str, Any]]:
    """The records of the functions of some cases."""
    evaluation = Evaluation(options.gguf, results, options.samples, options.examples)
    done: list[dict[str, Any]] = []
    try:
        for path, pairs in some:
            reference = Reference(read_case(path), Toolchain())
            for pair in pairs:
                evaluation.add(reference, pair)
                done.append(evaluation.records[pair["function"]])
            print(f"{len(done)} functions: {sum(r['greedy'] == 'pass' for r in done)} right", flush=True)
    finally:
        evaluation.close()
    return done


def _verdict(harness: Harness, function: str, answer: Answer) -> str:
    try:
        return harness.judge(extract_assembly(answer, function).text, explain=False).kind
    except NoCodeError:
        return "no-answer"
    except TruncatedError:
        return "truncated"


def table(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    """What came out, all together and by the length of the expected answer: percent, with 95 percent intervals."""
    judged = [record for record in records if record["greedy"] != "inconclusive"]
    yield "| lines | functions | assembles | exact | right (greedy) | pass@1 | pass@5 | pass@10 |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield _row("all", judged)
    for low, high in zip((0, *_LENGTHS), (*_LENGTHS, None)):
        some = [record for record in judged if low < record["lines"] <= (high or record["lines"])]
        if some:
            yield _row(f"{low + 1} to {high}" if high else f"over {low}", some)
    yield ""
    kinds = Counter(record["greedy"] for record in judged)
    yield "Greedy verdicts: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _row(name: str, records: Sequence[dict[str, Any]]) -> str:
    greedy = [record["greedy"] for record in records]
    columns = [
        _share([[kind not in BEFORE_CODE] for kind in greedy], 1),
        _share([[record["exact"]] for record in records], 1),
        _share([[kind == "pass"] for kind in greedy], 1),
    ]
    warm = [[kind == "pass" for kind in record["warm"] if kind != "inconclusive"] for record in records]
    columns += [_share(warm, k) for k in (1, 5, 10)]
    return f"| {name} | {len(records)} | {' | '.join(columns)} |"


def _share(passed: Sequence[Sequence[bool]], k: int) -> str:
    """pass@k of some functions' samples."""
    verdicts = [tuple("pass" if one else "mismatch" for one in samples) for samples in passed]
    made = estimate(
        [SampleCounts(QuestionKey("", str(n), "asm", "O0"), some, None, None, 0) for n, some in enumerate(verdicts)], k
    )
    return f"{100 * made.value:.1f} ({100 * made.low:.0f}-{100 * made.high:.0f})" if made else "-"


def main() -> None:
    """Evaluate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--functions", type=int, default=1000, help="how many, up to some 1,300")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--examples", type=int, default=20, help="generated inputs for each function")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    results = options.folder / f"results-{options.gguf.stem}.jsonl"
    all_cases, count = list(cases(options.folder, options.functions)), options.processes
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = pool.map(partial(evaluate, options, results), [all_cases[part::count] for part in range(count)])
        done = [record for part in parts for record in part]
    print("\n".join(table(done)))


if __name__ == "__main__":
    main()
