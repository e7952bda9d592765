"""Rewards: the library, the set that scores, the answer check, and how scores become advantages."""

from pipeline.rewards.answers import same_answer
from pipeline.rewards.combine import advantages, advantages_normalised
from pipeline.rewards.library import LIBRARY
from pipeline.rewards.reward_set import RewardSet, Scores

__all__ = ["LIBRARY", "RewardSet", "Scores", "advantages", "advantages_normalised", "same_answer"]
