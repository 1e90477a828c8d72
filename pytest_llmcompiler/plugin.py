"""The hooks of pytest. Each delegates to another module."""

from __future__ import annotations

import contextlib
import html
import os
import shlex
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmcompiler import options
from pytest_llmcompiler.collect import CaseFile, CaseItem, UnusableCaseItem, is_case
from pytest_llmcompiler.errors import ModelError, SettingError
from pytest_llmcompiler.evaluation import Evaluation
from pytest_llmcompiler.files import cache_folder, escape_name
from pytest_llmcompiler.judge.pool import WORKER_MEGABYTES
from pytest_llmcompiler.model.specs import SPEC_FORMS, has_owner_process
from pytest_llmcompiler.program.case import SUFFIXES
from pytest_llmcompiler.questions import PlannedQuestion
from pytest_llmcompiler.report.comparison import compare_files
from pytest_llmcompiler.report.header import cache_lines, header_lines, judge_lines, native_line
from pytest_llmcompiler.report.live import LiveLine, Progress
from pytest_llmcompiler.report.terminal import left_out_lines, summary_lines, unusable_lines, usage_lines
from pytest_llmcompiler.session import Session
from pytest_llmcompiler.subprocesses import end_with_controller
from pytest_llmcompiler.temporary import end_at_end

if TYPE_CHECKING:
    from pytest_llmcompiler.model.answer import Model

EVALUATION = pytest.StashKey[Evaluation]()
"""Where `config.stash` holds the evaluation of the session."""
_NO_MODEL = f"no model: give one with --llmc-model SPEC, where SPEC is {', or '.join(SPEC_FORMS)}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register flags and ini keys."""
    options.add_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read and check the settings. Last, because hypothesis's plugin sets the profile that some default to."""
    evaluation = Evaluation(Session(options.read_settings(config)))
    config.stash[EVALUATION] = evaluation
    if hasattr(config, "workerinput"):
        evaluation.session.process_count = config.workerinput["workercount"]
        evaluation.session.become_worker(config.workerinput.get("llmc_address"))
        if evaluation.session.settings.model:
            end_with_controller()
        return
    evaluation.session.process_count = getattr(config.option, "numprocesses", None) or 1
    with _usage_errors():
        evaluation.session.check()
    for warning in evaluation.session.prompt_warnings():
        config.issue_config_time_warning(pytest.PytestConfigWarning(warning), stacklevel=2)


def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """With `--llmc-compare`, compare two records and run no tests."""
    if not config.option.llmc_compare:
        return None
    try:
        lines = compare_files(*map(Path, config.option.llmc_compare))
    except ModelError as error:
        raise pytest.UsageError(f"--llmc-compare: {error}") from error
    print("\n".join(lines))
    return pytest.ExitCode.OK


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the model, the judge and the record."""
    if EVALUATION in config.stash:
        config.stash[EVALUATION].session.close()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the model, its hardware, the reference compiler, and what the judge may take of the machine."""
    session = config.stash[EVALUATION].session
    if session.settings.model is None or hasattr(config, "workerinput"):
        return []
    lines = [f"llmc: model {session.settings.model}"]
    if config.option.collectonly:
        return lines
    if getattr(config.option, "dist", "no") == "no":
        with _usage_errors():
            facts, compiler = session.model.describe(), session.toolchain.version()
        lines = header_lines(facts, compiler, session.settings.target)
    engine_problem = session.find_engine_problem()
    effort = session.settings.effort
    lines += judge_lines(session.jobs, session.process_count, WORKER_MEGABYTES, engine_problem, effort)
    lines += cache_lines(cache_folder())
    return [*lines, native_line(*session.find_native_support())] if session.runs_natively else lines


def pytest_collection_finish(session: pytest.Session) -> None:
    """Plan the questions. This opens the model, if the header did not: an error in it ends the session at once."""
    config = session.config
    evaluation = config.stash[EVALUATION]
    items = [item for item in session.items if isinstance(item, CaseItem) and item.asks_own_model]
    if not items or config.option.collectonly or not evaluation.session.settings.model:
        return
    questions = [item.question for item in items if not item.get_closest_marker("skip")]
    if config.option.maxfail:  # answers to items after the last permitted failure would be for nothing
        questions = []
    # A worker of pytest-xdist plans its share: which items it will be sent is not known yet.
    worker = getattr(config, "workerinput", None)
    number, workers = (int(worker["workerid"][2:]), worker["workercount"]) if worker else (0, 1)
    planned = [PlannedQuestion(turn, question) for turn, question in enumerate(questions)]
    with _usage_errors():
        evaluation.questions.plan(planned[number::workers])
    evaluation.prepare_ahead(questions)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of pytest-xdist the address of the process that owns the model, and have it end with this one."""
    session = node.config.stash[EVALUATION].session
    if session.settings.model:
        _end_with_this_process(node)
    if session.settings.model and has_owner_process(session.settings.model) and not node.config.option.collectonly:
        with _usage_errors():
            node.workerinput["llmc_address"] = tuple(session.owner.address)


def _end_with_this_process(node: Any) -> None:
    """Have a worker end with this process from its first moment on. Later it notices the end by itself, once it has
    imported this module."""
    worker = getattr(getattr(node.gateway, "_io", None), "popen", None)
    if worker is not None:
        with contextlib.suppress(OSError, IndexError):
            end_at_end(worker.pid)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn errors of settings and of the model into usage errors of pytest."""
    try:
        yield
    except SettingError as error:
        raise pytest.UsageError(str(error)) from error
    except ModelError as error:
        raise pytest.UsageError(f"--llmc-model: {error}") from error


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CaseFile | None:
    """Collect cases."""
    evaluation = parent.config.stash[EVALUATION]
    if not is_case(file_path, parent.config, evaluation):
        return None
    case_file: CaseFile = CaseFile.from_parent(parent, path=file_path)
    nodeid = escape_name(case_file.nodeid)
    if nodeid != case_file.nodeid:  # reports of other plugins can't have bytes that are not UTF-8
        case_file = CaseFile.from_parent(parent, path=file_path, nodeid=nodeid)
    case_file.evaluation = evaluation
    return case_file


@pytest.fixture(scope="session")
def llmc_model(pytestconfig: pytest.Config) -> Model:
    """The model under test, one for the whole session. Override it to test a model of your own."""
    session = pytestconfig.stash[EVALUATION].session
    if session.settings.model is None:
        pytest.skip(_NO_MODEL)
    return session.model


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach records and item report to pytest's report, which pytest-xdist carries from a worker."""
    report = yield
    if isinstance(item, (CaseItem, UnusableCaseItem)):  # the keywords are names of folders and files too
        report.keywords = {escape_name(name): value for name, value in report.keywords.items()}
    if isinstance(item, CaseItem) and call.when == "setup":
        report.llmc_records = item.records  # type: ignore[attr-defined]
        report.llmc_item_report = item.item_report  # type: ignore[attr-defined]
        report.llmc_left_out = item.left_out_flags()  # type: ignore[attr-defined]
        if report.failed and call.excinfo:
            report.longrepr = item.repr_setup_error(call.excinfo)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Register the plugins that take in reports."""
    config = session.config
    evaluation, plugins = config.stash[EVALUATION], config.pluginmanager
    if hasattr(config, "workerinput"):
        return
    if evaluation.session.settings.model and plugins.hasplugin("terminalreporter") and _may_draw(config):
        plugins.register(_LiveLinePlugin(evaluation, config.get_terminal_writer()), "llmc-live")
    plugins.register(_ReportCollector(evaluation), "llmc-collected")


def _may_draw(config: pytest.Config) -> bool:
    """Whether a line can be redrawn: standard output is a terminal, and nothing else writes to it or asks for quiet."""
    option = config.option
    logs = config.pluginmanager.hasplugin("logging") and (option.log_cli_level or config.getini("log_cli"))
    is_quiet = option.verbose < 0 or option.collectonly or option.capture == "no" or os.environ.get("CI") or logs
    return not is_quiet and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


class _ReportCollector:
    """Takes records and item reports out of pytest's reports, wherever the items were run."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._results, self._page = evaluation.results, evaluation.session.page

    def pytest_runtest_logreport(self, report: Any) -> None:
        records = getattr(report, "llmc_records", None)
        if records is not None:
            self._results.add(records, complete=not report.failed)
        case = report.nodeid.partition("::")[0]
        self._results.add_left_out(case, getattr(report, "llmc_left_out", ()))
        kind = dict(report.user_properties).get("llmc_unusable")
        if kind and report.when == "call":
            self._results.add_unusable(case, str(kind))
        if self._page and getattr(report, "llmc_item_report", None):
            self._page.add(report.llmc_item_report)


def _is_case_item(nodeid: str) -> bool:
    path, _, name = nodeid.partition("::")
    return Path(path).suffix in SUFFIXES and name != UnusableCaseItem.NAME


class _LiveLinePlugin:
    """Draws the live line, around everything that pytest writes."""

    def __init__(self, evaluation: Evaluation, writer: Any) -> None:
        self._evaluation, self._progress = evaluation, Progress()
        self._line = LiveLine(sys.stdout, writer, self._format_line)

    def _format_line(self) -> str:
        usage = self._evaluation.session.usage(warn=False) or {}
        return self._progress.format_line(time.monotonic(), self._evaluation.running, usage)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._progress.items = sum(isinstance(item, CaseItem) for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._progress.items = sum(_is_case_item(name) for name in ids)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, None, None]:
        with self._line.cleared():
            self._progress.begin(time.monotonic())
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> Generator[None, None, None]:
        with self._line.cleared():
            if hasattr(report, "llmc_records"):
                self._progress.add(report.llmc_records)
                self._evaluation.running = []
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None, None, None]:
        with self._line.cleared():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True, optionalhook=True)
    def pytest_testnodedown(self) -> Generator[None, None, None]:
        with self._line.cleared():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._line.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self) -> None:
        self._line.close()

    def pytest_enter_pdb(self) -> None:
        self._line.close()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what is written at the end, and fail the session if it misses its criteria."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
    if not config.stash[EVALUATION].results.finish(command) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_table_html(report: Any, data: list[str]) -> None:
    """Show the verdicts of an item in the page of pytest-html, which shows no properties."""
    verdicts = dict(report.user_properties).get("llmc_verdicts")
    if verdicts:
        data.insert(0, f"{html.escape(verdicts)}\n")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of pass@k."""
    evaluation = config.stash[EVALUATION]
    session, results = evaluation.session, evaluation.results
    writer = config.get_terminal_writer()
    width = writer.fullwidth
    notes = [*unusable_lines(results.unusable, width), *left_out_lines(results.left_out, width)]
    if results.records or notes:
        terminalreporter.section("language model as compiler")
    if results.records:
        usage = session.usage()

        def paint(text: str, colour: str) -> str:
            return writer.markup(text, **{colour: True}) if colour else text

        lines = summary_lines(results.records, list(session.settings.pass_k), width, paint)
        for line in (*lines, *(usage_lines(usage, width) if usage else ())):
            terminalreporter.write_line(line)
    for line in notes:
        terminalreporter.write_line(line)
    if session.page and session.page.is_written:
        terminalreporter.write_line(f"the report is in {session.page.path}")
    for line in results.closing_lines:
        terminalreporter.write_line(line, red=line.startswith("FAIL"))
