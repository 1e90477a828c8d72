"""Build a model from nothing: pairs, vocabulary, training, export, evaluation. What is there already is not made again.

python training/build.py FOLDER                                  # a smaller one, in some ten minutes
python training/build.py FOLDER --files 31 --minutes 112 --functions 1000    # the one that is shipped
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run the steps one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=2, help="of pairs for training, about 2,300 pairs each")
    parser.add_argument("--minutes", type=float, default=5, help="of training")
    parser.add_argument("--functions", type=int, default=40, help="held-out ones to evaluate it on")
    options = parser.parse_args()
    folder = str(options.folder)
    gguf = str(options.folder / "tiny.gguf")
    _run("generate.py", folder, "--files", str(options.files))
    _run("vocabulary.py", folder)
    _run("train.py", folder, "--minutes", str(options.minutes))
    _run("export.py", folder, gguf)
    _run("evaluate.py", folder, gguf, "--functions", str(options.functions))


def _run(script: str, *arguments: str) -> None:
    print(f"# {script} {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, str(Path(__file__).with_name(script)), *arguments], check=True)


if __name__ == "__main__":
    main()
