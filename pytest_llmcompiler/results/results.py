"""The results of a run, from its records."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmcompiler.errors import ExportError, ResultsError
from pytest_llmcompiler.judge.verdict import KINDS, Kind
from pytest_llmcompiler.report.comparison import RunComparison, compare_runs, pair_runs
from pytest_llmcompiler.report.cost_estimate import CostEstimate, estimate_cost
from pytest_llmcompiler.report.cost_ratios import MEASURES
from pytest_llmcompiler.report.export import check_export, export, parse_export
from pytest_llmcompiler.report.passk import Estimate, SampleCounts, count_samples, estimate
from pytest_llmcompiler.report.published_tests import PublishedTable, count_published_tests
from pytest_llmcompiler.report.records import DamagedLine, Record
from pytest_llmcompiler.results.reading import read_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

PathLike = str | os.PathLike[str]


class Results:
    """The samples of a run. A sample that has no verdict is there, and counts nowhere."""

    def __init__(self, records: Iterable[Record], name: str = "", damaged: Sequence[DamagedLine] = ()) -> None:
        """`records` have the layout of `record.schema.json`, one for each sample. `name` stands in legends and
        comparisons."""
        self.records: tuple[Record, ...] = tuple(records)
        self.name = name
        self.damaged = tuple(damaged)
        """The lines that `read` left out."""

    @classmethod
    def read(cls, paths: PathLike | Iterable[PathLike], *, skip_damaged: bool = False) -> Results:
        """Read the files of a run, as `--llmc-record` writes them: one, or several that hold parts of it.

        If a sample comes twice, the last one counts. A last line that a killed writer left incomplete is skipped.
        Raises ResultsError, which names file and line of all lines that are no records; with `skip_damaged` these are
        left out, and are `damaged`. Raises it too if a file can't be read, and if files have answers of different
        models to the same question: such runs are read one by one, and compared.
        """
        files = [Path(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
        records, damaged = read_files(files, skips_damaged=skip_damaged)
        return cls(records, ", ".join(path.stem for path in files), damaged)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        return f"<Results {self.name!r}: {len(self)} samples of {len(self.counts)} items>"

    def filter(self, keep: Callable[[Record], bool], name: str | None = None) -> Results:
        """The samples whose records `keep` returns true for, under another name if one is given."""
        return Results(filter(keep, self.records), self.name if name is None else name)

    @functools.cached_property
    def counts(self) -> list[SampleCounts]:
        """The verdicts of each item (function, task, pass list and prompt), without samples that have none."""
        return count_samples(self._judged)

    @property
    def _judged(self) -> list[Record]:
        return [record for record in self.records if record.get("verdict")]

    @property
    def verdicts(self) -> dict[Kind, int]:
        """How many samples have each verdict; only those that occur, in the order of the pipeline."""
        found = [record.get("verdict") for record in self.records]
        return {kind: found.count(kind) for kind in KINDS if kind in found}

    @property
    def published(self) -> PublishedTable:
        """The verdicts against what the tests say that came with the cases."""
        results = ((record.get("verdict"), record.get("detail", {}).get("published")) for record in self.records)
        return count_published_tests((verdict, tests["holds"] if tests else None) for verdict, tests in results)

    def pass_at_k(self, k: int = 1) -> Estimate:
        """The mean pass@k over items, with its 95 % interval over functions, as fractions of 1.

        Inconclusive samples count neither as passed nor as failed. Raises ResultsError if no item has `k` judged
        samples.
        """
        mean = estimate(self.counts, k) if k >= 1 else None
        if mean is None:
            most = max((counts.judged for counts in self.counts), default=0)
            raise ResultsError(f"pass@{k} is not defined here: no item has more than {most} judged samples")
        return mean

    def compare(self, other: Results) -> RunComparison:
        """Compare another run with this one, over the items that both have judged: `second` is `other`.

        If each run has a single pass list or prompt, and these differ, items are paired regardless of them. Raises
        ResultsError if no item has judged samples in both.
        """
        comparison = compare_runs(*pair_runs((self.name, self.counts), (other.name, other.counts)))
        if comparison is None:
            raise ResultsError("no item has judged samples in both runs")
        return comparison

    def to_pandas(self, *, answers: bool = False) -> DataFrame:
        """A table with a row for each sample, and the columns of `--llmc-export`; with `answers` their texts too.

        What is unknown is missing (NA). `verdict` is a category, in the order of the pipeline. Raises ResultsError
        without pandas.
        """
        from pytest_llmcompiler.results.pandas_table import build_table

        return build_table(self.records, answers=answers)

    def export(self, file: str, ks: Sequence[int] = (1,)) -> None:
        """Write what `--llmc-export` writes: `FILE.csv`, `FILE.parquet`, `evalplus:FILE` or `lm-eval:FILE`.

        `ks` are the k of pass@k for `lm-eval`. Raises ResultsError.
        """
        try:
            target = parse_export(file)
            check_export(target)
            export(self.records if target.format in ("csv", "parquet") else self._judged, target, ks)
        except (ValueError, ExportError) as error:
            raise ResultsError(str(error)) from error

    def plot_pass_at_k(self, ax: Axes | None = None) -> Figure:
        """pass@k over k with its 95 % interval, drawn into `ax` or into a figure of its own.

        Several runs drawn into one `ax` have a legend. Raises ResultsError without matplotlib, or without samples.
        """
        from pytest_llmcompiler.results.figures import draw_pass_at_k

        return draw_pass_at_k(self.counts, self.name, ax)

    def plot_verdicts_by_size(self, ax: Axes | None = None) -> Figure:
        """The share of each verdict by the size of the function: in tokens of the prompt where the model counts them,
        else in IR instructions. Raises ResultsError without matplotlib, or if no size is known."""
        from pytest_llmcompiler.results.figures import draw_verdicts_by_size

        return draw_verdicts_by_size(self.counts, ax)

    def plot_published_tests(self, ax: Axes | None = None) -> Figure:
        """How many samples have each verdict, where the tests that came with the case hold and where they fail.

        Raises ResultsError without matplotlib, or if no case came with tests.
        """
        from pytest_llmcompiler.results.figures import draw_published_tests

        return draw_published_tests(self.published, ax)

    def plot_speed_and_size(self, ax: Axes | None = None) -> Figure:
        """How fast and how small answers are that pass, as ratios to clang's code at -O3 and -Oz: a point for each
        function, their mean, and clang's own levels. Above 1 an answer is better.

        Raises ResultsError without matplotlib, or if no sample has its cost.
        """
        from pytest_llmcompiler.results.figures import draw_speed_and_size

        return draw_speed_and_size(self.counts, ax)

    def cost(self, measure: str) -> CostEstimate:
        """The mean of a measure (`speed@O3`, `size@Oz`) over functions, with its 95 % interval.

        Raises ResultsError for an unknown measure, or if no sample has its cost.
        """
        if measure not in MEASURES:
            raise ResultsError(f"there is no measure {measure!r}, only {', '.join(MEASURES)}")
        mean = estimate_cost(self.counts, measure)
        if mean is None:
            raise ResultsError("no sample that passes says its cost beside clang's")
        return mean
