"""Build a model from scratch: pairs, vocabulary, training, export, evaluation. Existing files are not made again.

python training/build.py FOLDER                                  # a smaller model, in about ten minutes
python training/build.py FOLDER --files 31 --minutes 112 --functions 1000    # the shipped model
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run the steps in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=2, help="files of training pairs, about 2,300 pairs each")
    parser.add_argument("--minutes", type=float, default=5, help="training time")
    parser.add_argument("--functions", type=int, default=40, help="held-out functions for the evaluation")
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
