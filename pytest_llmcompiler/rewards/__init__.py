"""Rewards for training: what verl, TRL, OpenRLHF, SkyRL and NeMo Gym call to score a model's answers.

A module for each library has the callables with its signatures. None of them imports the library.
"""

from pytest_llmcompiler.rewards.columns import Columns
from pytest_llmcompiler.rewards.table import STAGED, reward_of

__all__ = ("STAGED", "Columns", "reward_of")
