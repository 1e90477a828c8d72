"""The cost of the report's page with many samples: its size, the time to write it, and the load on a browser.

    python benchmarks/report_size.py [--functions 500] [--samples 20] [--out page.html]

The samples are variants of the recorded faults in tests/faults, which are judged first. Every answer gets labels and
comments of its own, so that no two texts are the same. The browser is that of the tests; without one, its part is left
out.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pytest_llmcompiler.errors import NoCodeError, TruncatedError  # noqa: E402
from pytest_llmcompiler.judge.api import judge_answer  # noqa: E402
from pytest_llmcompiler.judge.client import JudgeClient  # noqa: E402
from pytest_llmcompiler.judge.listing import Listing  # noqa: E402
from pytest_llmcompiler.model.answer import Answer, Prompt  # noqa: E402
from pytest_llmcompiler.model.extract.assembly import find_judged_assembly  # noqa: E402
from pytest_llmcompiler.model.prompt import Template  # noqa: E402
from pytest_llmcompiler.program.case import read_case  # noqa: E402
from pytest_llmcompiler.program.clang import Toolchain  # noqa: E402
from pytest_llmcompiler.program.reference import Reference  # noqa: E402
from pytest_llmcompiler.report.item_report import ItemReport, ReferenceListing, build_item_report  # noqa: E402
from pytest_llmcompiler.report.page import ReportPage  # noqa: E402
from pytest_llmcompiler.report.records import Record, RecordSettings, build_record  # noqa: E402

CASE = ROOT / "cases" / "git_lfs.c"
FAULTS = ROOT / "tests" / "faults" / "git_lfs.jsonl"
SETTINGS: RecordSettings = {
    "version": "0",
    "prompt": "meta",
    "seed": 1,
    "examples": 100,
    "assembler": "keystone",
    "target": "x86_64-linux",
    "clang": None,
}


class JudgedFunction:
    """A function of the case, with its recorded answers judged."""

    def __init__(self, reference: Reference, judge: JudgeClient, name: str, answers: list[Answer]) -> None:
        count, size = reference.texts.sizes(name)
        fields: dict[str, str | int] = {
            "ir": reference.texts.ir(name),
            "ir_count": count,
            "bin_size": size,
            "passes": "O0",
            "function": name,
        }
        self.prompt = Prompt(
            case=CASE.name,
            function=name,
            task="asm",
            passes="O0",
            template="meta",
            text=Template.load("meta").render(fields),
            reference=lambda: reference.texts.assembly(name, "O0"),
            instructions=count,
        )
        self.reference = self.prompt.reference()
        self.reference_listing = judge.listing(reference.case, name, self.reference)
        self.records: list[Record] = []
        self.listings: dict[str, Listing | None] = {}
        for answer in answers:
            verdict = judge_answer(judge, reference.case, name, answer)
            facts = {"name": "recorded", "backend": "replay"}
            self.records.append(build_record(self.prompt, answer, facts, verdict, SETTINGS))
            try:
                assembly = find_judged_assembly(answer, self.prompt, verdict.detail)
                self.listings[answer.text] = judge.listing(reference.case, name, assembly)
            except (NoCodeError, TruncatedError):
                self.listings[answer.text] = None

    def build_variant(self, number: int, samples: int, generator: random.Random) -> ItemReport:
        """The report on a function like this one with other names. No two of its samples are the same."""
        chosen = [generator.choice(self.records) for _ in range(samples)]
        records = [self._vary(record, number, index, generator) for index, record in enumerate(chosen)]
        prompt = replace(
            self.prompt,
            case=f"file{number % 40}.c",
            function=f"{self.prompt.function}_{number}",
            text=vary_text(self.prompt.text, number, generator),
        )
        reference: ReferenceListing = {
            "passes": "O0",
            "text": vary_text(self.reference, number, generator),
            "blocks": self.reference_listing,
        }
        return build_item_report(prompt, records, reference, lambda index: self.listings[chosen[index]["answer"]])

    def _vary(self, record: Record, number: int, index: int, generator: random.Random) -> Record:
        answer = record["answer"]
        return {
            **record,
            "sample": index,
            "answer": vary_text(answer, number, generator),
            "tokens": {"prompt": len(self.prompt.text) // 3, "answer": len(answer) // 3},  # about 3 characters each
            "seconds": generator.uniform(1, 9),
        }


def vary_text(text: str, number: int, generator: random.Random) -> str:
    """A text with other labels, and with a unique comment at every fifth line."""
    lines = re.sub(r"\.LBB(\d+)_", rf".LBB{number}\1_", text).split("\n")
    return "\n".join(
        f"{line} # {generator.getrandbits(48):x}" if index % 5 == 4 else line for index, line in enumerate(lines)
    )


def judge_functions() -> Iterator[JudgedFunction]:
    """The functions of the case that have recorded answers."""
    reference = Reference(read_case(CASE), Toolchain())
    answers: dict[str, list[Answer]] = {}
    for record in map(json.loads, FAULTS.read_text().splitlines()):
        answer = Answer(record["answer"], record["sample"], record.get("stop", "eos"))
        answers.setdefault(record["function"], []).append(answer)
    judge = JudgeClient()
    for name, recorded in answers.items():
        yield JudgedFunction(reference, judge, name, recorded)
    judge.close()


def measure_browser(path: Path, executable: str) -> None:
    """Use a page in a browser as a person would, and print times and memory."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(path.as_uri())
        [timing] = page.evaluate("performance.getEntriesByType('navigation').map((entry) => entry.toJSON())")
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")

        def format_heap() -> str:
            devtools.send("HeapProfiler.collectGarbage")
            metrics = {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}
            return f"{metrics['JSHeapUsedSize'] / 1e6:.1f} MB in JavaScript, {metrics['Nodes']:.0f} nodes"

        def print_time(action: str, start: float) -> None:
            print(f"{action}: {1000 * (time.perf_counter() - start):.0f} ms")

        print(f"loaded: {timing['domContentLoadedEventEnd']:.0f} ms; {format_heap()}")
        start = time.perf_counter()
        page.get_by_role("button", name="Message").click()
        print_time("sorted by message", start)
        start = time.perf_counter()
        page.get_by_label("Find").fill("bad read validate")
        expect(page.locator("#shown")).to_contain_text(" of ")
        print_time("searched", start)
        start = time.perf_counter()
        page.locator("#table tbody button").first.click()
        page.locator("#sample-body mark.fault").wait_for()
        print_time("a sample opened", start)
        start = time.perf_counter()
        page.locator("summary", has_text="Disassembly").click()
        page.locator(".diff").wait_for()
        print_time("its disassemblies aligned", start)
        for _ in range(30):
            page.locator("#sample-after").click()
        print(f"after 30 further samples: {format_heap()}")
        browser.close()


def parse_arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=500)
    parser.add_argument("--samples", type=int, default=20, help="of each function (default: 20)")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "report_size.html")
    return parser.parse_args()


def main() -> None:
    """Write a page and print its costs."""
    from browsers import browser_path

    arguments = parse_arguments()
    functions = list(judge_functions())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator, start = random.Random(1), time.perf_counter()
    page = ReportPage(arguments.out)
    for number in range(arguments.functions):
        page.add(functions[number % len(functions)].build_variant(number, arguments.samples, generator))
    built = time.perf_counter()
    page.write({"reference": "clang"}, [1, 5, 10])
    written = time.perf_counter()
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    size = arguments.out.stat().st_size / 1e6
    print(f"{arguments.functions * arguments.samples:,} samples: {size:.1f} MB in {arguments.out}")
    print(f"item reports built in {built - start:.1f} s; page written in {written - built:.1f} s")
    print(f"memory grew by {growth:.0f} MB")
    executable = browser_path()
    if executable:
        measure_browser(arguments.out, executable)


if __name__ == "__main__":
    main()
