"""`python -m pytest_llmcompiler` is the command `llmc`."""

from pytest_llmcompiler.cli import main

main()
