"""What the report's page costs with many samples: its size, the time to make it, and how a browser bears it.

    python benchmarks/report_size.py [--functions 500] [--samples 20] [--out page.html]

Samples are made from the recorded faults in tests/faults, judged for this: as many functions as asked for, with labels
and comments of their own in every answer, so that nothing is the same twice. The browser is the one that the tests use;
without one, its part is left out.
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
from pytest_llmcompiler.judge.api import judge_answer, judged_text  # noqa: E402
from pytest_llmcompiler.judge.service import Judge  # noqa: E402
from pytest_llmcompiler.model.answer import Answer, Prompt  # noqa: E402
from pytest_llmcompiler.model.prompt import Template  # noqa: E402
from pytest_llmcompiler.program.case import read_case  # noqa: E402
from pytest_llmcompiler.program.clang import Toolchain  # noqa: E402
from pytest_llmcompiler.program.reference import Reference  # noqa: E402
from pytest_llmcompiler.report.item_report import build_item_report  # noqa: E402
from pytest_llmcompiler.report.page import ReportPage  # noqa: E402
from pytest_llmcompiler.report.records import build_record  # noqa: E402

CASE = ROOT / "cases" / "git_lfs.c"
FAULTS = ROOT / "tests" / "faults" / "git_lfs.jsonl"


class Function:
    """A function of the case, its recorded answers judged."""

    def __init__(self, reference: Reference, judge: Judge, name: str, answers: list[Answer]) -> None:
        count, size = reference.texts.sizes(name)
        fields = {
            "ir": reference.texts.ir(name),
            "ir_count": count,
            "bin_size": size,
            "passes": "O0",
            "function": name,
        }
        text = Template.load("meta").render(fields)
        self.prompt = Prompt(
            case=CASE.name,
            function=name,
            task="asm",
            passes="O0",
            template="meta",
            text=text,
            reference=lambda: reference.texts.assembly(name, "O0"),
            instructions=count,
        )
        self.reference = self.prompt.reference()
        self.records = []
        self.listings: dict[str, Any] = {"": judge.listing(reference.case, name, self.reference)}
        for answer in answers:
            verdict = judge_answer(judge, reference.case, name, answer)
            self.records.append(build_record(self.prompt, answer, {"name": "recorded", "backend": "replay"}, verdict))
            try:
                self.listings[answer.text] = judge.listing(reference.case, name, judged_text(answer, name))
            except (NoCodeError, TruncatedError):
                self.listings[answer.text] = None

    def item_report(self, number: int, samples: int, draw: random.Random) -> dict[str, Any]:
        """A question like this one with other names and so many samples, no two of them the same."""
        chosen = [draw.choice(self.records) for _ in range(samples)]
        tokens = len(self.prompt.text) // 3
        made = [
            {
                **one,
                "sample": at,
                "answer": changed(one["answer"], number, draw),
                "tokens": {"prompt": tokens, "answer": len(one["answer"]) // 3},
                "seconds": draw.uniform(1, 9),
            }
            for at, one in enumerate(chosen)
        ]
        prompt = replace(
            self.prompt,
            case=f"file{number % 40}.c",
            function=f"{self.prompt.function}_{number}",
            text=changed(self.prompt.text, number, draw),
        )
        own = {"passes": "O0", "text": changed(self.reference, number, draw), "blocks": self.listings[""]}
        return build_item_report(prompt, made, own, lambda at: self.listings[chosen[at]["answer"]])


def changed(text: str, number: int, draw: random.Random) -> str:
    """A text with other labels, and a comment behind every fifth line that none other has."""
    lines = re.sub(r"\.LBB(\d+)_", rf".LBB{number}\1_", text).split("\n")
    return "\n".join(f"{line} # {draw.getrandbits(48):x}" if at % 5 == 4 else line for at, line in enumerate(lines))


def judged() -> Iterator[Function]:
    """The functions of the case that answers are recorded of."""
    reference = Reference(read_case(CASE), Toolchain())
    answers: dict[str, list[Answer]] = {}
    for line in FAULTS.read_text().splitlines():
        one = json.loads(line)
        answers.setdefault(one["function"], []).append(Answer(one["answer"], one["sample"], one.get("stop", "eos")))
    judge = Judge()
    for name, some in answers.items():
        yield Function(reference, judge, name, some)
    judge.close()


def look(path: Path, executable: str) -> None:
    """Open a page as somebody would, and print what that takes."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(path.as_uri())
        [timing] = page.evaluate("performance.getEntriesByType('navigation').map((one) => one.toJSON())")
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")

        def heap() -> str:
            devtools.send("HeapProfiler.collectGarbage")
            metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
            return f"{metrics['JSHeapUsedSize'] / 1e6:.1f} MB in JavaScript, {metrics['Nodes']:.0f} nodes"

        def told(what: str, start: float) -> None:
            print(f"{what}: {1000 * (time.perf_counter() - start):.0f} ms")

        print(f"loaded: {timing['domContentLoadedEventEnd']:.0f} ms; {heap()}")
        start = time.perf_counter()
        page.get_by_role("button", name="Message").click()
        told("sorted by message", start)
        start = time.perf_counter()
        page.get_by_label("Find").fill("bad read validate")
        expect(page.locator("#shown")).to_contain_text(" of ")
        told("searched", start)
        start = time.perf_counter()
        page.locator("#table tbody button").first.click()
        page.locator("#sample-body mark.fault").wait_for()
        told("a sample opened", start)
        start = time.perf_counter()
        page.locator("summary", has_text="Disassembly").click()
        page.locator(".diff").wait_for()
        told("its disassemblies compared", start)
        for _ in range(30):
            page.locator("#sample-after").click()
        print(f"after 30 samples more: {heap()}")
        browser.close()


def main() -> None:
    """Make a page and print what it costs."""
    from browsers import browser_path

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=500)
    parser.add_argument("--samples", type=int, default=20, help="of each function (default 20)")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "report_size.html")
    options = parser.parse_args()
    functions = list(judged())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    draw, start = random.Random(1), time.perf_counter()
    page = ReportPage(options.out)
    for number in range(options.functions):
        page.add(functions[number % len(functions)].item_report(number, options.samples, draw))
    made = time.perf_counter()
    page.write({"reference": "clang"}, [1, 5, 10])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{options.functions * options.samples:,} samples: {options.out.stat().st_size / 1e6:.1f} MB in {options.out}"
    )
    print(
        f"sheets made in {made - start:.1f} s, written in {time.perf_counter() - made:.1f} s; {grown:.0f} MB of memory"
    )
    executable = browser_path()
    if executable:
        look(options.out, executable)


if __name__ == "__main__":
    main()
