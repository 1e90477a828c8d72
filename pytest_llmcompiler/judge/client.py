"""The judge: verdicts from processes of their own, so that nothing a candidate does reaches the caller."""

from __future__ import annotations

from dataclasses import asdict

from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.judge.listing import Listing, ListingLine
from pytest_llmcompiler.judge.messages import JudgeRequest, RequestedFunction, describe_function
from pytest_llmcompiler.judge.pool import JudgePool
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.settings import JudgeSettings, TaskQuestion
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.llama.resources import count_cores
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.clang import Toolchain


class JudgeClient:
    """Judges candidates in the processes of a pool, by one set of settings. Thread-safe: samples that threads ask for
    are judged side by side.

    `workers` is the number of processes, all cores by default; each is started when the others are busy. Judges with
    different settings can share a `pool` instead.
    """

    def __init__(
        self,
        settings: JudgeSettings | None = None,
        toolchain: Toolchain | None = None,
        *,
        workers: int | None = None,
        pool: JudgePool | None = None,
    ) -> None:
        self._settings = asdict(settings or JudgeSettings())
        self._clang = toolchain.clang if toolchain else None
        self.pool = pool or JudgePool(workers or count_cores())

    @property
    def pid(self) -> int | None:
        """The number of the judge process that was started first; None where none runs."""
        return next(iter(self.pool.pids), None)

    def judge(
        self, case: Case, function: str, text: str, question: TaskQuestion | None = None, *, explain: bool = True
    ) -> Verdict:
        """Judge one candidate for a function of a case. `text` is assembly, unless `question` says that it is an answer
        to another task. Without `explain`, no smaller input is searched for.

        Raises CaseError where the case is at fault, JudgeError where the harness is.
        """
        described = self._describe(case, function)
        return self._judge(described, text, question, explain=explain, with_reproducer=False).verdict

    def judge_with_reproducer(
        self, case: Case, function: str, text: str, question: TaskQuestion | None = None, *, explain: bool = True
    ) -> ReproducibleVerdict:
        """Judge as `judge` does, and capture what a native program needs to show the same failure. Raises as `judge`
        does."""
        described = self._describe(case, function)
        return self._judge(described, text, question, explain=explain, with_reproducer=True)

    def listing(self, case: Case, function: str, assembly: str) -> Listing | None:
        """The code of a candidate, block by block; None where it does not assemble, or is too long for a listing.

        Raises as `judge` does.
        """
        reply = self.pool.exchange({"action": "list", "function": self._describe(case, function)}, assembly)
        if reply["status"] != "listing":
            raise JudgeError(f"the judge's process replied with a {reply['status']}")
        blocks = reply["blocks"]
        return [[ListingLine(*line) for line in block] for block in blocks] if blocks is not None else None

    def prepare(self, case: Case, function: str) -> None:
        """Prepare a function for the candidates that will come, in a process that has nothing else to do. One process
        is left to judge: nothing is done where there is only one. Raises as `judge` does."""
        if self.pool.most_workers > 1:
            self.pool.exchange({"action": "prepare", "function": self._describe(case, function)}, "")

    def close(self) -> None:
        """End the processes of the pool, those that judge for other threads too. The next request starts others."""
        self.pool.close()

    def _describe(self, case: Case, function: str) -> RequestedFunction:
        return describe_function(case, function, self._clang, self._settings)

    def _judge(
        self,
        function: RequestedFunction,
        text: str,
        question: TaskQuestion | None,
        *,
        explain: bool,
        with_reproducer: bool,
    ) -> ReproducibleVerdict:
        request: JudgeRequest = {
            "action": "judge",
            "function": function,
            "question": asdict(question or TaskQuestion()),
            "explain": explain,
            "with_reproducer": with_reproducer,
        }
        reply = self.pool.exchange(request, text)
        if reply["status"] != "verdict":
            raise JudgeError(f"the judge's process replied with a {reply['status']}")
        return ReproducibleVerdict(Verdict.from_json(reply["verdict"]), reply["reproducer"])
