"""The results of sessions for notebooks and papers: records as a typed object, as a table, and as figures.

from pytest_llmcompiler.results import Results

results = Results.read(["first.jsonl", "second.jsonl"])
print(results.pass_at_k(1))
"""

from pytest_llmcompiler.errors import ResultsError
from pytest_llmcompiler.report.comparison import RunComparison
from pytest_llmcompiler.report.cost_estimate import CostEstimate
from pytest_llmcompiler.report.passk import Estimate
from pytest_llmcompiler.report.records import DamagedLine, Record
from pytest_llmcompiler.results.results import Results

__all__ = ("CostEstimate", "DamagedLine", "Estimate", "Record", "Results", "ResultsError", "RunComparison")
