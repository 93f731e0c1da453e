"""The losses: one class each, registered under the name that recipes use."""

from distilnlp.losses.attention import AttentionProbabilities, AttentionScores
from distilnlp.losses.base import LayerLoss, Loss, get_loss, list_losses, loss_class, register_loss
from distilnlp.losses.contrastive import InfoNCE
from distilnlp.losses.decoupled import DIST, DKD, LogitStandardization
from distilnlp.losses.divergence import Divergence, SoftCrossEntropy
from distilnlp.losses.features import PKD, VID, AttentionTransfer
from distilnlp.losses.hidden import Embedding, HiddenState, HiddenStateCosine
from distilnlp.losses.labels import ConditionalTeacherStudent, LabelSmoothing, ProbabilityShift, PseudoLabel
from distilnlp.losses.logits import BernoulliSoftTarget, HardLabel, LogitMSE, Response, SoftTarget
from distilnlp.losses.objective import Objective, Term, hard_label_only
from distilnlp.losses.ranking import MarginMSE
from distilnlp.losses.relational import CKA, PKT, RKDAngle, RKDDistance, SimilarityPreserving
from distilnlp.losses.relations import MiniLM, MiniLMv2

__all__ = [
    "CKA",
    "DIST",
    "DKD",
    "PKD",
    "PKT",
    "VID",
    "AttentionProbabilities",
    "AttentionScores",
    "AttentionTransfer",
    "BernoulliSoftTarget",
    "ConditionalTeacherStudent",
    "Divergence",
    "Embedding",
    "HardLabel",
    "HiddenState",
    "HiddenStateCosine",
    "InfoNCE",
    "LabelSmoothing",
    "LayerLoss",
    "LogitMSE",
    "LogitStandardization",
    "Loss",
    "MarginMSE",
    "MiniLM",
    "MiniLMv2",
    "Objective",
    "ProbabilityShift",
    "PseudoLabel",
    "RKDAngle",
    "RKDDistance",
    "Response",
    "SimilarityPreserving",
    "SoftCrossEntropy",
    "SoftTarget",
    "Term",
    "get_loss",
    "hard_label_only",
    "list_losses",
    "loss_class",
    "register_loss",
]
