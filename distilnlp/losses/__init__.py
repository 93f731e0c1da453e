"""The losses: one class each, registered under the name that recipes use."""

from distilnlp.citation import Citation
from distilnlp.losses.attention.internal import Internal
from distilnlp.losses.attention.maps import AttentionProbabilities, AttentionScores
from distilnlp.losses.attention.minilm import MiniLM, MiniLMv2
from distilnlp.losses.base import Loss, get_loss, list_losses, loss_class, register_loss
from distilnlp.losses.feature.attention_transfer import AttentionTransfer
from distilnlp.losses.feature.discriminator import FeatureDiscriminator
from distilnlp.losses.feature.factor_transfer import FactorTransfer
from distilnlp.losses.feature.fsp import FSP
from distilnlp.losses.feature.hidden_state import Embedding, HiddenState, HiddenStateCosine
from distilnlp.losses.feature.mobilebert import MobileBERT
from distilnlp.losses.feature.nst import NST
from distilnlp.losses.feature.pkd import PKD
from distilnlp.losses.feature.vid import VID
from distilnlp.losses.layer_matching.alp_kd import ALPKD
from distilnlp.losses.layer_matching.bert_emd import BertEMD
from distilnlp.losses.layer_matching.cofi import CoFi
from distilnlp.losses.layer_matching.rail_kd import RAILKD
from distilnlp.losses.layer_matching.semckd import SemCKD
from distilnlp.losses.layers import LayerLoss
from distilnlp.losses.objective import Objective, Term, hard_label_only
from distilnlp.losses.relation.cc import CC
from distilnlp.losses.relation.cka import CKA
from distilnlp.losses.relation.ckd import CKD
from distilnlp.losses.relation.contrastive import CRD, InfoNCE
from distilnlp.losses.relation.dark_rank import DarkRank
from distilnlp.losses.relation.irg import IRG
from distilnlp.losses.relation.mgskd import MGSKD
from distilnlp.losses.relation.pkt import PKT
from distilnlp.losses.relation.rkd import RKDAngle, RKDDistance
from distilnlp.losses.relation.similarity_preserving import SimilarityPreserving
from distilnlp.losses.response.annealing import AnnealingKD, TeacherAnnealing
from distilnlp.losses.response.born_again import CWTM, DKPP
from distilnlp.losses.response.cosine import Cosine
from distilnlp.losses.response.discriminator import LogitDiscriminator
from distilnlp.losses.response.dist import DIST
from distilnlp.losses.response.divergence import Divergence, SoftCrossEntropy
from distilnlp.losses.response.dkd import DKD
from distilnlp.losses.response.example_temperature import CWSM, FLSW
from distilnlp.losses.response.hard_label import HardLabel
from distilnlp.losses.response.jacobian import Jacobian
from distilnlp.losses.response.label_aware import (
    ConditionalTeacherStudent,
    LabelSmoothing,
    ProbabilityShift,
    PseudoLabel,
)
from distilnlp.losses.response.logit_mse import LogitMSE
from distilnlp.losses.response.logit_standardization import LogitStandardization
from distilnlp.losses.response.lwf import LWF
from distilnlp.losses.response.margin_mse import MarginMSE
from distilnlp.losses.response.response import Response
from distilnlp.losses.response.rocket_launching import RocketLaunching
from distilnlp.losses.response.soft_target import BernoulliSoftTarget, SoftTarget
from distilnlp.losses.response.uld import ULD
from distilnlp.losses.schedule import Schedule

__all__ = [
    "ALPKD",
    "CC",
    "CKA",
    "CKD",
    "CRD",
    "CWSM",
    "CWTM",
    "DIST",
    "DKD",
    "DKPP",
    "FLSW",
    "FSP",
    "IRG",
    "LWF",
    "MGSKD",
    "NST",
    "PKD",
    "PKT",
    "RAILKD",
    "ULD",
    "VID",
    "AnnealingKD",
    "AttentionProbabilities",
    "AttentionScores",
    "AttentionTransfer",
    "BernoulliSoftTarget",
    "BertEMD",
    "Citation",
    "CoFi",
    "ConditionalTeacherStudent",
    "Cosine",
    "DarkRank",
    "Divergence",
    "Embedding",
    "FactorTransfer",
    "FeatureDiscriminator",
    "HardLabel",
    "HiddenState",
    "HiddenStateCosine",
    "InfoNCE",
    "Internal",
    "Jacobian",
    "LabelSmoothing",
    "LayerLoss",
    "LogitDiscriminator",
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
