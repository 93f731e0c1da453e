"""The losses: one class each, registered under the name that recipes use."""

from distilnlp.losses.attention import AttentionProbabilities, AttentionScores
from distilnlp.losses.base import LayerLoss, Loss, get_loss, list_losses, loss_class, register_loss
from distilnlp.losses.decoupled import DIST, DKD, LogitStandardization
from distilnlp.losses.divergence import Divergence, SoftCrossEntropy
from distilnlp.losses.hidden import Embedding, HiddenState, HiddenStateCosine
from distilnlp.losses.labels import ConditionalTeacherStudent, LabelSmoothing, ProbabilityShift, PseudoLabel
from distilnlp.losses.logits import BernoulliSoftTarget, HardLabel, LogitMSE, SoftTarget
from distilnlp.losses.objective import Objective, Term, hard_label_only, response_loss

__all__ = [
    "DIST",
    "DKD",
    "AttentionProbabilities",
    "AttentionScores",
    "BernoulliSoftTarget",
    "ConditionalTeacherStudent",
    "Divergence",
    "Embedding",
    "HardLabel",
    "HiddenState",
    "HiddenStateCosine",
    "LabelSmoothing",
    "LayerLoss",
    "LogitMSE",
    "LogitStandardization",
    "Loss",
    "Objective",
    "ProbabilityShift",
    "PseudoLabel",
    "SoftCrossEntropy",
    "SoftTarget",
    "Term",
    "get_loss",
    "hard_label_only",
    "list_losses",
    "loss_class",
    "register_loss",
    "response_loss",
]
