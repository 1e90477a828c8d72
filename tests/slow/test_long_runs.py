"""Functions of which every run takes long are judged on a few inputs."""

from __future__ import annotations

from pathlib import Path

from pytest_llmcompiler import check
from pytest_llmcompiler.program.clang import Toolchain

CHURN = """
int grid[70][70], row[70], last;
unsigned clear;

void churn(void)
{
    for (int j = 0; j < 70; j++) {
        for (int i = 0; i < 70; i++) {
            if (clear)
                row[i] = 0;
            for (int k = 0; k < 70; k++)
                grid[i][1] = grid[k][i];
        }
        for (int k = 0; k < 70; k++)
            last = row[0];
    }
}
"""


def compile_o2(source: str, path: Path) -> str:
    path.write_text(source)
    return Toolchain().emit_assembly(Toolchain().emit_ir(path), "O2")


def test_a_loop_that_takes_long_on_every_input_is_judged(tmp_path: Path) -> None:
    verdict = check(CHURN, "churn", compile_o2(CHURN, tmp_path / "right.c"), examples=10)
    assert verdict.kind == "pass"
    done, planned = verdict.detail["cut"]["drawing"]
    assert 0 < done < planned
    for number, (right, wrong) in enumerate((("row[i] = 0;", ";"), ("grid[i][1] = grid[k][i];", ";"))):
        assembly = compile_o2(CHURN.replace(right, wrong), tmp_path / f"wrong{number}.c")
        assert check(CHURN, "churn", assembly, examples=10, explain=False).kind == "mismatch"
