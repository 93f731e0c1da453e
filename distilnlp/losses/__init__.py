"""The losses: one class each, registered under the name that recipes use."""

from distilnlp.losses.annealing import CWSM, FLSW, AnnealingKD, TeacherAnnealing
from distilnlp.losses.attention import AttentionProbabilities, AttentionScores
from distilnlp.losses.base import LayerLoss, Loss, get_loss, list_losses, loss_class, register_loss
from distilnlp.losses.contextual import CKD
from distilnlp.losses.contrastive import CRD, InfoNCE
from distilnlp.losses.dark_rank import DarkRank
from distilnlp.losses.decoupled import DIST, DKD, LogitStandardization
from distilnlp.losses.divergence import Divergence, SoftCrossEntropy
from distilnlp.losses.factors import FactorTransfer
from distilnlp.losses.feature_maps import NST, Internal, MobileBERT
from distilnlp.losses.features import PKD, VID, AttentionTransfer
from distilnlp.losses.gradients import Jacobian
from distilnlp.losses.granularity import MGSKD
from distilnlp.losses.hidden import Embedding, HiddenState, HiddenStateCosine
from distilnlp.losses.labels import ConditionalTeacherStudent, LabelSmoothing, ProbabilityShift, PseudoLabel
from distilnlp.losses.layers_learned import ALPKD, CoFi, SemCKD
from distilnlp.losses.layers_matched import RAILKD, BertEMD
from distilnlp.losses.logits import BernoulliSoftTarget, HardLabel, LogitMSE, Response, SoftTarget
from distilnlp.losses.margins import MarginMSE
from distilnlp.losses.minilm import MiniLM, MiniLMv2
from distilnlp.losses.objective import Objective, Term, hard_label_only
from distilnlp.losses.relational import CKA, PKT, RKDAngle, RKDDistance, SimilarityPreserving
from distilnlp.losses.rocket import RocketLaunching
from distilnlp.losses.schedule import Schedule
from distilnlp.losses.structure import CC, FSP, IRG

__all__ = [
    "ALPKD",
    "CC",
    "CKA",
    "CKD",
    "CRD",
    "CWSM",
    "DIST",
    "DKD",
    "FLSW",
    "FSP",
    "IRG",
    "MGSKD",
    "NST",
    "PKD",
    "PKT",
    "RAILKD",
    "VID",
    "AnnealingKD",
    "AttentionProbabilities",
    "AttentionScores",
    "AttentionTransfer",
    "BernoulliSoftTarget",
    "BertEMD",
    "CoFi",
    "ConditionalTeacherStudent",
    "DarkRank",
    "Divergence",
    "Embedding",
    "FactorTransfer",
    "HardLabel",
    "HiddenState",
    "HiddenStateCosine",
    "InfoNCE",
    "Internal",
    "Jacobian",
    "LabelSmoothing",
    "LayerLoss",
    "LogitMSE",
    "LogitStandardization",
    "Loss",
    "MarginMSE",
    "MiniLM",
    "MiniLMv2",
    "MobileBERT",
    "Objective",
    "ProbabilityShift",
    "PseudoLabel",
    "RKDAngle",
    "RKDDistance",
    "Response",
    "RocketLaunching",
    "Schedule",
    "SemCKD",
    "SimilarityPreserving",
    "SoftCrossEntropy",
    "SoftTarget",
    "TeacherAnnealing",
    "Term",
    "get_loss",
    "hard_label_only",
    "list_losses",
    "loss_class",
    "register_loss",
]
