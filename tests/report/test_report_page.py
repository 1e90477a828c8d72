"""The report's page, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsers import browser_path
from playwright.sync_api import Browser, expect, sync_playwright
from playwright.sync_api import Page as Tab
from sessions import TWICE, put, records, replay, run_here, text_of

from pytest_llmcompiler.judge.listing import ListingLine
from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.model.answer import Prompt
from pytest_llmcompiler.report.item_report import build_item_report
from pytest_llmcompiler.report.page import ReportPage

HOSTILE = '</script><script>document.title = "run"</script><img src=x onerror="document.title = 1">\u2028\x1b[31m\x00'
MESSAGES = {"crash": "bad read of 4 bytes in line 3", "mismatch": "return value: expected 4, observed 2"}
MINE = [
    [ListingLine(3, "movl (%rdi), %eax"), ListingLine(4, "testl %eax, %eax"), ListingLine(5, "je .3")],
    [ListingLine(6, "incl %eax")],
    [ListingLine(7, "retq")],
]
THEIRS = [
    [ListingLine(3, "movl (%rdi), %eax"), ListingLine(4, "testl %eax, %eax"), ListingLine(5, "je .2")],
    [ListingLine(7, "retq")],
]


def sample(function: str, number: int, verdict: str, **more: Any) -> dict[str, Any]:
    detail = {"message": MESSAGES.get(verdict, "" if verdict == "pass" else f"why {verdict}"), "evidence": []}
    if verdict == "pass":
        levels = {"O0": (4000, 80), "O2": (1100, 50), "O3": (1000, 60), "Oz": (1250, 40)}
        costs = {level: dict(zip(("instructions", "bytes"), counts)) for level, counts in levels.items()}
        detail["cost"] = {"instructions": 500 * len(function), "bytes": 80, "references": costs}
    if verdict == "mismatch":
        detail |= {"input": ["x = 2"], "differences": [["return value", "4", HOSTILE]], "parts": 4}
        detail["adequacy"] = {"mutants": 20, "killed": 17}
    if verdict == "crash":
        at = "  at        line 3: movl (%rdi), %eax"
        detail |= {"input": [f'p = "{HOSTILE}"'], "evidence": [f'  input     p = "{HOSTILE}"', at], "line": 3}
    return {
        "sample": number,
        "verdict": verdict,
        "seed": 1,
        "stop": "eos",
        "seconds": 1.25,
        "answer": f"{function}:\n\t# {HOSTILE}\n\tmovl (%rdi), %eax\n\tret # {verdict}\n",
        "tokens": {"prompt": 300 * (1 + len(function)), "answer": 10 * number},
        "model": {"name": HOSTILE, "backend": "replay"},
        "detail": detail,
        **more,
    }


def item_report(function: str, samples: list[dict[str, Any]], case: str = "a.c") -> dict[str, Any]:
    prompt = Prompt(
        case=case,
        function=function,
        task="asm",
        passes="O0",
        template="meta",
        text=f"the prompt for {function} {HOSTILE}",
        reference=lambda: "",
    )
    reference = {"passes": "O0", "text": f"{function}:\n\tret\n", "blocks": THEIRS}
    return build_item_report(prompt, samples, reference, lambda index: MINE)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every verdict, with hostile text in every place and with more rows than are shown at a time."""
    page = ReportPage(tmp_path_factory.mktemp("report") / "new" / "report.html")
    page.add(item_report("f", [sample("f", number, kind) for number, kind in enumerate(KINDS)]))
    page.add(item_report("long_name", [sample("long_name", number, "pass") for number in range(120)], "sub/b.c"))
    page.add(item_report(HOSTILE, [sample(HOSTILE, 0, "crash")]))
    page.write({"reference": "clang", "seed": HOSTILE}, [1, 5])
    return page.path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = browser_path()
    if not executable:
        pytest.skip("no Chromium here: install one, or name it in LLMC_BROWSER (`.ci/browser` fetches one from npm)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()


Open = Callable[..., Tab]


@pytest.fixture
def opened(browser: Browser, written: Path) -> Iterator[Open]:
    """Opens the page. The test fails if the browser reports an error, or if the page asks the network for anything."""
    tabs, complaints, requests = [], [], []

    def look(width: int = 1280, scheme: Literal["light", "dark"] = "light") -> Tab:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        tabs.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(written.as_uri())
        return page

    yield look
    assert complaints == []
    assert set(requests) == {written.as_uri()}
    for page in tabs:
        page.close()


def column(page: Tab, name: str) -> list[str]:
    texts: list[str] = page.locator(f"#table tbody td.c-{name}").all_inner_texts()
    return texts


def press(page: Tab, name: str) -> None:
    page.get_by_role("button", name=name).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_opened_sorted_filtered_and_a_sample_is_looked_at(opened: Open, width: int, scheme: str) -> None:
    page = opened(width, scheme)
    assert page.locator("#shown").inner_text() == "131 samples"
    assert len(column(page, "verdict")) == 50

    press(page, "Verdict")
    assert page.locator("th.c-verdict").get_attribute("aria-sort") == "ascending"
    press(page, "Verdict")
    assert page.locator("th.c-verdict").get_attribute("aria-sort") == "descending"
    assert column(page, "verdict")[:10] == [*reversed(KINDS[6:]), "crash", "crash", *reversed(KINDS[1:5])][:10]

    press(page, "mismatch 1")
    press(page, "crash 2")
    assert page.locator("#shown").inner_text() == "3 of 131 samples"
    page.get_by_label("Find").fill("bad READ f[")
    expect(page.locator("#table tbody tr")).to_have_count(1)

    page.locator("#table tbody button").press("Enter")
    page.wait_for_selector("#sample-body mark.fault")
    assert page.locator("#sample-title").inner_text() == "f[asm-O0], sample 5: crash"
    assert page.locator("#sample-body mark.fault").inner_text() == "\tmovl (%rdi), %eax"
    page.locator("summary", has_text="Disassembly").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.evaluate("document.activeElement.innerText") == "f"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_keeps_the_rules_of_accessibility(opened: Open, width: int, scheme: str) -> None:
    page = opened(width, scheme)
    assert Axe().run(page).response["violations"] == []
    press(page, "mismatch 1")
    page.locator("#table tbody button").click()
    page.locator("summary", has_text="Disassembly").click()
    page.wait_for_selector("#sample-body .diff")
    assert Axe().run(page).response["violations"] == []


def test_the_view_of_a_sample(opened: Open) -> None:
    page = opened()
    press(page, "mismatch 1")
    page.locator("#table tbody button").click()
    page.wait_for_selector("#sample-body mark.divergence")
    for summary in ("Disassembly", "Prompt", "Answer as it came"):
        page.locator("summary", has_text=summary).click()
    body = page.locator("#sample-body").inner_text()
    for text in (
        "return value: expected 4, observed 2",
        "x = 2",
        "line 4: the run diverges from the reference here",
        "clang -O0",
        "a.c::f[asm-O0]",
        "17 of 20",
    ):
        assert text in body
    assert page.locator(".differences tbody tr").inner_text().startswith("return value\t4\t</script>")
    assert page.get_by_role("region", name="The prompt").inner_text().startswith("the prompt for f </script>")
    assert page.get_by_role("region", name="The answer").inner_text().startswith("f:\n\t# </script>")
    rows = [[cell.strip() for cell in row.split("\t")] for row in page.locator(".diff tbody tr").all_inner_texts()]
    assert rows == [
        [".1 beside .1"],
        ["3", "movl (%rdi), %eax", "", "3", "movl (%rdi), %eax"],
        ["4", "testl %eax, %eax", "", "4", "testl %eax, %eax"],
        ["5", "je .3", "", "5", "je .2"],
        ["only in the answer: .2"],
        ["6", "incl %eax", "+", "", ""],
        [".3 beside .2"],
        ["7", "retq", "", "7", "retq"],
    ]
    assert page.locator("#sample-body .about").inner_text() == "1 of 5 lines differ."


def test_one_walks_from_page_to_page_and_from_sample_to_sample(opened: Open) -> None:
    page = opened()
    press(page, "Next")
    assert page.locator("#page").inner_text() == "page 2 of 3"
    press(page, "Next")
    assert len(column(page, "sample")) == 31 and page.locator("#after").is_disabled()
    page.locator("#file").select_option("sub/b.c")
    assert set(column(page, "file")) == {"sub/b.c"}
    page.locator("#table tbody button").first.click()
    dialog = page.get_by_role("dialog")
    for number in (1, 2):
        dialog.get_by_role("button", name="Next").click()
        expect(page.locator("#sample-title")).to_have_text(f"long_name[asm-O0], sample {number}: pass")
    dialog.get_by_role("button", name="Previous").click()
    dialog.get_by_role("button", name="Close").click()
    page.locator("[data-find]").nth(1).click()
    assert set(column(page, "function")) == {"f"}


def test_nothing_in_an_answer_is_run(opened: Open) -> None:
    page = opened()
    page.get_by_label("Find").fill("onerror")
    expect(page.locator("#table tbody tr")).to_have_count(1)
    assert column(page, "function")[0].startswith("</script><script>document.title")
    page.locator("#table tbody button").click()
    page.wait_for_selector("#sample-body mark.fault")
    for summary in ("Prompt", "Answer as it came"):
        page.locator("summary", has_text=summary).click()
    assert page.locator("img").count() == 0
    assert page.title().startswith("</script>") and page.title().endswith("language model as compiler")


def index_of(page: Path) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="index">(.*?)</script>', page.read_text(), re.DOTALL)
    assert match
    index: dict[str, Any] = json.loads(match[1])
    return index


def test_a_session_of_two_workers_writes_it(project: pytest.Pytester) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    model = replay(project, TWICE, "prose", TWICE)
    options = ("--llmc-samples=3", "--llmc-report=out/page.html", "--llmc-record=record.jsonl", "--llmc-examples=10")
    result = project.runpytest_subprocess(model, *options, "-k", "twice", "-n", "2")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["the report is in out/page.html"])
    index = index_of(project.path / "out/page.html")
    rows = {
        (*index["questions"][row[0]], row[1]): (KINDS[row[2]], index["messages"][row[3]]) for row in index["samples"]
    }
    assert rows == {
        (line["case"], line["function"], f"{line['task']}-{line['passes']}", line["sample"]): (
            line["verdict"],
            line["detail"]["message"],
        )
        for line in records(project.path / "record.jsonl")
    }
    assert len(rows) == 3
    assert not list((project.path / "out").glob("*.part"))


def test_a_session_that_judges_nothing_leaves_an_earlier_page(project: pytest.Pytester) -> None:
    (project.path / "page.html").write_text("of yesterday")
    run_here(project, "--llmc-model=reference", "--llmc-report=page.html", "--collect-only")
    assert (project.path / "page.html").read_text() == "of yesterday"


def test_a_place_that_cant_be_written_is_a_usage_error(project: pytest.Pytester) -> None:
    result = run_here(project, "--llmc-model=reference", "--llmc-report=cases")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--llmc-report: can't write cases: Is a directory" in text_of(result)


def test_a_page_that_cant_be_written_leaves_the_verdicts(project: pytest.Pytester) -> None:
    put(project, "test_gone.py", "import shutil\ndef test_gone():\n    shutil.rmtree('out')\n")
    model = replay(project, "prose")
    result = project.runpytest_subprocess(
        model, "--llmc-report=out/page.html", "-k", "twice or gone", "-p", "no:xdist", "."
    )
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(["*--llmc-report: can't write out/page.html: No such file or directory", "overall *"])
    result.stdout.no_fnmatch_line("the report is in*")


def test_speed_is_plotted_against_size(opened: Open) -> None:
    page = opened()
    plot = page.get_by_role("region", name="Speed against size")
    marks = {" ".join(text.split()) for text in plot.locator("svg title").all_text_contents()}
    assert marks == {
        "a.c::f: speed 2.00, size 0.50",
        "sub/b.c::long_name: speed 0.22, size 0.50",
        "mean over functions: speed 0.67, size 0.50",
        "clang -O0: speed 0.25, size 0.50",
        "clang -O2: speed 0.91, size 0.80",
        "clang -O3: speed 1.00, size 0.67",
        "clang -Oz: speed 0.80, size 1.00",
    }
    summary = page.get_by_role("region", name="Summary")
    assert "speed@O3\n0.67\n0.00 to" in summary.inner_text() and "size@Oz\n0.50\n" in summary.inner_text()
    plot.get_by_text("Values").click()
    assert "speed@O3\t0.67\t" in plot.get_by_role("table").inner_text()
    page.get_by_role("button", name="f", exact=True).first.click()
    expect(page.get_by_role("dialog")).to_contain_text("500 (clang -O0 4,000, -O2 1,100, -O3 1,000, -Oz 1,250)")


def test_without_right_answers_nothing_is_plotted(browser: Browser, tmp_path: Path) -> None:
    page = ReportPage(tmp_path / "page.html")
    page.add(item_report("f", [sample("f", 0, "crash")]))
    page.write({}, [1])
    tab = browser.new_page()
    tab.goto(page.path.as_uri())
    expect(tab.get_by_role("heading", name="Speed against size")).to_have_count(0)
    tab.close()


def test_equal_answers_are_kept_once_and_a_later_item_report_counts(tmp_path: Path) -> None:
    lines = "\n".join(f"\tmovl ${number * 7919}, %eax" for number in range(3000))
    page = ReportPage(tmp_path / "page.html")
    page.add(item_report("f", [sample("f", 0, "crash")]))
    page.add(item_report("f", [sample("f", number, "pass", answer=lines) for number in range(200)]))
    page.write({}, [1])
    assert [row[1:3] for row in index_of(page.path)["samples"]] == [[number, 0] for number in range(200)]
    assert page.path.stat().st_size < 100_000


def test_without_samples_it_says_so(tmp_path: Path) -> None:
    page = ReportPage(tmp_path / "page.html")
    page.write({}, [1])
    assert index_of(page.path)["samples"] == [] and "no samples" in page.path.read_text()


def test_an_answer_in_ir_is_shown_beside_its_assembly(browser: Browser, tmp_path: Path) -> None:
    measured = {
        "ir": {"instructions": 2, "size": 51, "exact": False, "canonical": True, "opt_instructions": 3, "opt_size": 52}
    }
    promised = {"promised": {"instructions": {"said": 2, "is": 2}, "size": {"said": 9, "is": None}}}
    ir_record = sample("f", 0, "mismatch", answer=f"<code>define i32 @f() {HOSTILE}")
    ir_record["detail"] |= {
        **measured,
        **promised,
        "lowered": f"f:\n\n\n\tretq # {HOSTILE}\n",
        "round_trip": {"exact": False, "bleu": 41.5},
    }
    tuned = sample("f", 0, "pass")
    tuned["detail"] = {"message": "", "tune": {"passes": f"sroa,{HOSTILE}", "size": 80, "oz": 100, "improvement": 20.0}}
    page = ReportPage(tmp_path / "report.html")
    for task, passes, record in (("ir", "Oz", ir_record), ("tune", "", tuned)):
        prompt = Prompt(
            case="a.c",
            function="f",
            task=task,  # type: ignore[arg-type]
            passes=passes,
            template="meta",
            text="the prompt",
            reference=lambda: "",
        )
        page.add(build_item_report(prompt, [record], None, lambda index: None))
    page.write({}, [1])
    tab = browser.new_page()
    tab.goto((tmp_path / "report.html").as_uri())
    assert sorted(column(tab, "passes")) == ["ir-Oz", "tune"]
    for row, texts in (
        (
            "ir-Oz",
            (
                "Assembly that LLVM makes of the answer",
                f"retq # {HOSTILE}",
                "f[ir-Oz]",
                "2, is 2",
                "9 bytes, is unknown",
                "41.5",
            ),
        ),
        ("tune", ("f[tune]", f"sroa,{HOSTILE}", "80 bytes, 100 with -Oz: 20 percent less")),
    ):
        tab.locator("#table tbody tr", has_text=row).get_by_role("button").click()
        expect(tab.locator("#sample-title")).to_contain_text(row)
        tab.wait_for_selector("#sample-body dl.terms")
        body = tab.locator("#sample-body").inner_text()
        assert all(text in body for text in texts), body
        tab.locator("#sample-close").click()
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_published_tests_against_verdicts(browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]) -> None:
    outcomes = [("pass", True)] * 3 + [("crash", True), ("abi", True), ("crash", False), ("inconclusive", True)]
    samples = [sample("f", number, kind) for number, (kind, _) in enumerate(outcomes)]
    for each, (_, holds) in zip(samples, outcomes):
        each["detail"]["published"] = {
            "tests": "asserts",
            "holds": holds,
            "message": "" if holds else f"f(1): {HOSTILE}",
        }
    page = ReportPage(tmp_path / "report.html")
    page.add(item_report("f", samples))
    page.add(item_report("without", [sample("without", 0, "crash")]))
    page.write({}, [1])
    tab = browser.new_page(color_scheme=scheme)
    tab.goto(page.path.as_uri())
    section = tab.get_by_role("region", name="Published tests against verdicts")
    expect(section).to_contain_text("hold for 6 of 7 answers. 2 of those are refused by the verdict.")
    assert section.locator(".left").all_text_contents()[:-1] == ["inconclusive", "abi", "crash", "pass"]
    assert section.locator(".count").all_text_contents() == ["1", "0", "1", "0", "1", "1", "3", "0"]
    assert section.locator(".refused").count() == 2
    label = section.locator(".plot").get_attribute("aria-label")
    assert label and label.startswith("0 pass where the tests fail, 3 pass where the tests hold, 1 crash where")
    press(tab, "Show these samples")
    assert column(tab, "verdict") == ["crash", "abi"]
    tab.get_by_label("refused, though the published tests hold").uncheck()
    assert len(column(tab, "verdict")) == 8
    tab.locator("#table tbody tr").nth(5).get_by_role("button").click()
    expect(tab.locator("#sample-body")).to_contain_text(f"fail: f(1): {HOSTILE[:10]}")
    assert Axe().run(tab).response["violations"] == []
    tab.close()


def test_a_page_without_published_tests_has_no_plot_of_them(written: Path) -> None:
    assert "Published tests" not in written.read_text(encoding="utf-8")
