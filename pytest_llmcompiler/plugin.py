"""pytest hooks, each of which hands on at once."""

from __future__ import annotations

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
from pytest_llmcompiler.collect import CaseFile, CaseItem, is_case
from pytest_llmcompiler.errors import ModelError, SettingError
from pytest_llmcompiler.model.specs import SPEC_FORMS, has_owner_process
from pytest_llmcompiler.program.case import SUFFIXES
from pytest_llmcompiler.report.comparison import file_lines
from pytest_llmcompiler.report.header import header_lines
from pytest_llmcompiler.report.live import LiveLine, Progress
from pytest_llmcompiler.report.terminal import summary_lines, usage_lines
from pytest_llmcompiler.session import Session

if TYPE_CHECKING:
    from pytest_llmcompiler.model.answer import Model

_SESSION = pytest.StashKey[Session]()
_NO_MODEL = f"no model: give one with --llmc-model SPEC, where SPEC is {', or '.join(SPEC_FORMS)}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register flags and ini keys."""
    options.add_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, some of which hypothesis's plugin has a say in."""
    session = Session(options.read_settings(config))
    config.stash[_SESSION] = session
    if hasattr(config, "workerinput"):
        session.find_owner(config.workerinput.get("llmc_address"))
        return
    with _usage_errors():
        session.check()
    for words in session.drifts():
        config.issue_config_time_warning(pytest.PytestConfigWarning(words), stacklevel=2)


def pytest_cmdline_main(config: pytest.Config) -> pytest.ExitCode | None:
    """Compare two records, and run no tests."""
    if not config.option.llmc_compare:
        return None
    try:
        lines = file_lines([Path(name) for name in config.option.llmc_compare])
    except ModelError as error:
        raise pytest.UsageError(f"--llmc-compare: {error}") from error
    print("\n".join(lines))
    return pytest.ExitCode.OK


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the model, the judge and the record."""
    if _SESSION in config.stash:
        config.stash[_SESSION].close()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which model answers, and on what hardware."""
    session = config.stash[_SESSION]
    if session.settings.model is None or hasattr(config, "workerinput"):
        return []
    if config.option.collectonly or getattr(config.option, "dist", "no") != "no":
        return [f"llmc: model {session.settings.model}"]
    with _usage_errors():
        return header_lines(session.model.describe(), session.toolchain.version(), session.settings.target)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Open the model before the first item, where the header did not (a fault in it ends the session at once), and tell
    it what will be asked."""
    config = session.config
    items = [item for item in session.items if isinstance(item, CaseItem) and item.asks_own_model]
    if not items or config.option.collectonly or not config.stash[_SESSION].settings.model:
        return
    asked = [item.question for item in items if not item.get_closest_marker("skip")]
    if config.option.maxfail:  # what comes after the last failure that is wanted would be made for nothing
        asked = []
    worker = getattr(config, "workerinput", None)
    number, workers = (int(worker["workerid"][2:]), worker["workercount"]) if worker else (0, 1)
    with _usage_errors():
        config.stash[_SESSION].plan(list(enumerate(asked))[number::workers])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell one of xdist's workers where the model's owner is."""
    session = node.config.stash[_SESSION]
    if session.settings.model and has_owner_process(session.settings.model) and not node.config.option.collectonly:
        with _usage_errors():
            node.workerinput["llmc_address"] = tuple(session.owner.address)


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except SettingError as error:
        raise pytest.UsageError(str(error)) from error
    except ModelError as error:
        raise pytest.UsageError(f"--llmc-model: {error}") from error


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CaseFile | None:
    """Collect cases."""
    session = parent.config.stash[_SESSION]
    if not is_case(file_path, parent.config, session):
        return None
    made: CaseFile = CaseFile.from_parent(parent, path=file_path)
    made.llmc = session
    return made


@pytest.fixture(scope="session")
def llmc_model(pytestconfig: pytest.Config) -> Model:
    """The model under test, one for the whole session. Override it to test a model of your own."""
    session = pytestconfig.stash[_SESSION]
    if session.settings.model is None:
        pytest.skip(_NO_MODEL)
    return session.model


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give the report of an item its records and its sheet, which travel with it from xdist's workers."""
    report = yield
    if isinstance(item, CaseItem) and call.when == "setup":
        report.llmc_records = item.records  # type: ignore[attr-defined]
        report.llmc_sheet = item.item_report  # type: ignore[attr-defined]
        if report.failed and call.excinfo:
            report.longrepr = item.explained(call.excinfo)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Listen to reports."""
    config = session.config
    llmc, plugins = config.stash[_SESSION], config.pluginmanager
    if hasattr(config, "workerinput"):
        return
    terminal = plugins.get_plugin("terminalreporter")
    if llmc.settings.model and terminal and _may_draw(config):
        plugins.register(_Live(llmc, terminal), "llmc-live")
    plugins.register(_Collected(llmc), "llmc-collected")


def _may_draw(config: pytest.Config) -> bool:
    """Whether somebody looks at a terminal, in which a line can be drawn again and again."""
    option = config.option
    logs = config.pluginmanager.hasplugin("logging") and (option.log_cli_level or config.getini("log_cli"))
    asked_for_quiet = option.verbose < 0 or option.collectonly or option.capture == "no" or os.environ.get("CI") or logs
    return not asked_for_quiet and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


class _Collected:
    """Gathers the records and sheets out of reports, wherever they were made."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def pytest_runtest_logreport(self, report: Any) -> None:
        records = getattr(report, "llmc_records", None)
        if records is not None:
            self._session.collect(records, complete=not report.failed)
        if self._session.page and getattr(report, "llmc_sheet", None):
            self._session.page.add(report.llmc_sheet)


class _Live:
    """Has the live line drawn, around what pytest writes."""

    def __init__(self, session: Session, terminal: Any) -> None:
        self._session, self._progress = session, Progress()
        self._line = LiveLine(sys.stdout, terminal, self._told)

    def _told(self) -> str:
        return self._progress.told(time.monotonic(), self._session.running, self._session.usage(warn=False) or {})

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._progress.items = sum(isinstance(item, CaseItem) for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._progress.items = sum(Path(name.partition("::")[0]).suffix in SUFFIXES for name in ids)

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
                self._session.running = []
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
    """Fail the session where it did not reach what it had to."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
    if not config.stash[_SESSION].finish(command) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_table_html(report: Any, data: list[str]) -> None:
    """Show the verdicts of an item in the page of pytest-html, which leaves out properties."""
    verdicts = dict(report.user_properties).get("llmc_verdicts")
    if verdicts:
        data.insert(0, f"{html.escape(verdicts)}\n")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of pass@k."""
    session = config.stash[_SESSION]
    if session.records:
        terminalreporter.section("language model as compiler")
        width = terminalreporter._tw.fullwidth
        usage = session.usage()

        def paint(text: str, colour: str) -> str:
            return str(terminalreporter._tw.markup(text, **{colour: True})) if colour else text

        lines = summary_lines(session.records, list(session.settings.pass_k), width, paint)
        for line in (*lines, *(usage_lines(usage, width) if usage else ())):
            terminalreporter.write_line(line)
    if session.page and session.page.is_written:
        terminalreporter.write_line(f"the report is in {session.page.path}")
    for line in session.closing:
        terminalreporter.write_line(line, red=line.startswith("FAIL"))
