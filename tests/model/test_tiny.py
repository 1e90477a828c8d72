"""The model that comes with the plugin, with llama.cpp and the whole session."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gguf
import pytest

from pytest_llmcompiler.model.specs import check_spec, get_default_template
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "pytest_llmcompiler" / "model" / "tiny" / "tiny.gguf"
EASY = "fahrenheit or grey_code or tick or next_random or withdraw or pack_pixel or average_of or most_frequent_digit"


def test_the_model_is_shipped_under_its_name() -> None:
    check_spec("tiny")
    assert get_default_template("tiny") == "tiny"
    assert get_default_template("other.gguf") == get_default_template(None) == "meta"
    assert MODEL.stat().st_size < 2_500_000


def test_the_model_answers_this_repository_s_cases_by_default(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    command = [sys.executable, "-m", "pytest", "cases/small.c", "-k", EASY]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [f"--llmc-record={path}", "--llmc-examples=10", "--llmc-samples=2", "--llmc-pass-k=1,2"]
    session = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert session.returncode == pytest.ExitCode.TESTS_FAILED, session.stdout[-4000:] + session.stderr[-4000:]
    assert "llmc: model llmc-tiny (llama.cpp), all on the CPU, context 1024 tokens" in session.stdout
    records = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = Counter(record["verdict"] for record in records)
    assert sum(kinds.values()) == 16
    assert 0 < kinds["pass"] < 16 and len(kinds) >= 3, kinds
    assert all(record["prompt"] == "tiny" and record["model"]["name"] == "llmc-tiny" for record in records)
    [text] = {record["answer"] for record in records if record["function"] == "grey_code" and record["sample"] == 0}
    assert text.startswith("grey_code:\n")


def test_llama_cpp_tokenises_texts_as_the_training_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_cpp import Llama

    monkeypatch.syspath_prepend(str(ROOT / "training"))
    from vocabulary import Vocabulary

    field = gguf.GGUFReader(MODEL).get_field("tokenizer.ggml.tokens")
    assert field is not None
    pieces = [piece.encode().decode("unicode_escape").encode("latin-1") for piece in field.contents()[1:]]
    assert pieces[:256] == [bytes([byte]) for byte in range(256)]
    vocabulary = Vocabulary([piece.decode() for piece in pieces[256:]])
    llama = Llama(str(MODEL), vocab_only=True, verbose=False)
    reference = Reference(read_case(ROOT / "cases" / "small.c"), Toolchain())
    texts = [reference.texts.short_ir(function).text for function in reference.functions]
    for text in (*texts, "\tmovl\t-24(%rbp), %eax\n.L7:\n\tje\t.Lx0\n", "'\\\"é\0 <end> -8(%rb", ""):
        tokens = llama.tokenize(text.encode(), add_bos=False)
        assert tokens == vocabulary.tokens(text)
        assert llama.detokenize(tokens) == text.encode()
