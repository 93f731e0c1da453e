"""The losses: one class each, registered under the name that recipes use."""

from distilnlp.losses.attention import AttentionProbabilities, AttentionScores
from distilnlp.losses.base import LayerLoss, Loss, get_loss, list_losses, loss_class, register_loss
from distilnlp.losses.hidden import Embedding, HiddenState, HiddenStateCosine
from distilnlp.losses.logits import BernoulliSoftTarget, HardLabel, LogitMSE, SoftTarget
from distilnlp.losses.objective import Objective, Term, hard_label_only, response_loss

__all__ = [
    "AttentionProbabilities",
    "AttentionScores",
    "BernoulliSoftTarget",
    "Embedding",
    "HardLabel",
    "HiddenState",
    "HiddenStateCosine",
    "LayerLoss",
    "LogitMSE",
    "Loss",
    "Objective",
    "SoftTarget",
    "Term",
    "get_loss",
    "hard_label_only",
    "list_losses",
    "loss_class",
    "register_loss",
    "response_loss",
]
