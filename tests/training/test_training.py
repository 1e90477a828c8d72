"""The scripts that train the shipped model: the properties of its data, and that they run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faces import Compile, Judged

from pytest_llmcompiler.program.short import restore_names

TRAINING = Path(__file__).parents[2] / "training"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TRAINING))


def test_a_seed_gives_the_same_program_everywhere() -> None:
    import programs

    texts = [programs.Program(seed).write("f") for seed in range(200)]
    again = subprocess.run(
        [
            sys.executable,
            "-c",
            "import programs, json; print(json.dumps([programs.Program(s).write('f') for s in range(200)]))",
        ],
        cwd=TRAINING,
        capture_output=True,
        check=True,
    )
    assert json.loads(again.stdout) == texts
    assert len(set(texts)) > 195


def test_expected_answers_are_correct(compiled: Compile, judged: Judged) -> None:
    """For programs that the model is not trained on."""
    import programs
    from expected import build_expected_answer
    from generate import HELD_OUT, PROGRAMS_PER_FILE

    first = HELD_OUT * PROGRAMS_PER_FILE
    source = programs.PRELUDE + "\n".join(programs.Program(first + n).write(f"f{n}") for n in range(3))
    verdicts = []
    for function in ("f0", "f1", "f2"):
        short = compiled(source).texts.short_ir(function)
        verdicts.append(judged(source, function, restore_names(build_expected_answer(short.module), short.names)).kind)
    assert "pass" in verdicts
    assert set(verdicts) <= {"pass", "inconclusive"}


def test_values_have_fixed_slots_and_labels_the_numbers_of_blocks() -> None:
    from expected import build_expected_answer

    module = """
    define i32 @f(i32 %0, i32 %1) {
      %3 = icmp sgt i32 %0, 7
      br i1 %3, label %4, label %6
    4:
      %5 = add i32 %0, %1
      br label %6
    6:
      %7 = phi i32 [ %5, %4 ], [ 9, %2 ]
      ret i32 %7
    }
    """.replace("\n    ", "\n")
    lines = [line.strip() for line in build_expected_answer(module).splitlines()]
    assert lines[:5] == ["f:", "pushq\t%rbp", "movq\t%rsp, %rbp", "subq\t$1024, %rsp", "movl\t%edi, -8(%rbp)"]
    addition = lines.index("addl\t-24(%rbp), %eax")
    assert lines[addition - 1 : addition + 2] == [
        "movl\t-8(%rbp), %eax",
        "addl\t-24(%rbp), %eax",
        "movl\t%eax, -88(%rbp)",
    ]
    assert [line for line in lines if line.startswith(".L")] == [".L6:"]
    assert "jle\t.L6" in lines


def test_a_vocabulary_tokenises_any_text_without_loss() -> None:
    from vocabulary import LONGEST, Vocabulary

    texts = ["%1 = add i32 %0, 77\nret i32 %1\n", "f:\n\tmovl\t-24(%rbp), %eax\n\tretq\n"] * 30
    vocabulary = Vocabulary.build(texts, 60)
    assert max(map(len, vocabulary.pieces)) <= LONGEST
    for text in (*texts[:2], "é\0 <end> %12345 -24(%rbp"):
        tokens = vocabulary.tokens(text)
        assert b"".join(map(vocabulary.decode_token, tokens)) == text.encode()
    assert len(vocabulary.tokens(texts[1])) < len(texts[1]) / 3


def test_an_exported_network_has_the_same_logits_in_llama_cpp(tmp_path: Path) -> None:
    """A network with random weights is exported, and llama.cpp computes the same logits from the file."""
    pytest.importorskip("torch", reason="the training needs PyTorch: pip install -r training/requirements.txt")
    import gguf
    import numpy as np
    import torch
    from export import write_gguf
    from llama_cpp import Llama
    from network import Network, Shape
    from vocabulary import Vocabulary

    vocabulary = Vocabulary.build(["%1 = add i32 %0, 7\n"] * 30, 30)
    torch.manual_seed(1)
    network = Network(Shape(len(vocabulary), width=64, layers=2, heads=2, feed_forward=64, context=64))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    write_gguf(network, vocabulary, tmp_path / "model.gguf", gguf.GGMLQuantizationType.F32)
    tokens = [0, *vocabulary.tokens("%1 = add i32 %0, 42\n")]
    llama = Llama(str(tmp_path / "model.gguf"), n_ctx=64, logits_all=True, n_threads=1, verbose=False)
    assert llama.tokenize(b"%1 = add i32 %0, 42\n", add_bos=False) == tokens[1:]
    llama.eval(tokens)
    with torch.no_grad():
        expected = network(torch.tensor([tokens]))[0].numpy()
    assert np.allclose(llama.scores[: len(tokens)], expected, atol=0.02)
