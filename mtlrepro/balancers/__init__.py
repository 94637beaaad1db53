"""Balancers: how T task losses become one gradient.

`create(name, n_tasks, **options)` makes one; `backward` then replaces `loss.backward()`. Three
families: loss weighting (one backward pass), Gramian weighting and slice rules (T passes).
"""

from mtlrepro.balancers.base import CONTROLS, METHODS, Balancer, register
from mtlrepro.balancers.cagrad import CAGrad
from mtlrepro.balancers.capture import CapturedStep
from mtlrepro.balancers.diagnostics import Diagnostics, diagnostics
from mtlrepro.balancers.dwa import DWA
from mtlrepro.balancers.equal import Equal
from mtlrepro.balancers.factory import create
from mtlrepro.balancers.fixed import Fixed
from mtlrepro.balancers.gls import GLS, LaggedGLS
from mtlrepro.balancers.graddrop import GradDrop
from mtlrepro.balancers.gradient_balancing import GramianWeighting, SliceRule
from mtlrepro.balancers.gradients import gramian, precision, task_gradients
from mtlrepro.balancers.gradnorm import GradNorm
from mtlrepro.balancers.loss_weighting import LossWeighting
from mtlrepro.balancers.lsb import LSB
from mtlrepro.balancers.maxgnr import MaxGNR
from mtlrepro.balancers.mclgs import MCLGS, CAGradMCLGS
from mtlrepro.balancers.mgda import MGDA
from mtlrepro.balancers.mtsgd import MTSGD
from mtlrepro.balancers.pcgrad import PCGrad
from mtlrepro.balancers.replay import Replay
from mtlrepro.balancers.rlw import RLW
from mtlrepro.balancers.torchjd import TorchJD
from mtlrepro.balancers.uncertainty import Uncertainty
from mtlrepro.balancers.uw_so import UWSO
from mtlrepro.balancers.warmup import Warmup

__all__ = [
    "CONTROLS",
    "DWA",
    "GLS",
    "LSB",
    "MCLGS",
    "METHODS",
    "MGDA",
    "MTSGD",
    "RLW",
    "UWSO",
    "Balancer",
    "CAGrad",
    "CAGradMCLGS",
    "CapturedStep",
    "Diagnostics",
    "Equal",
    "Fixed",
    "GradDrop",
    "GradNorm",
    "GramianWeighting",
    "LaggedGLS",
    "LossWeighting",
    "MaxGNR",
    "PCGrad",
    "Replay",
    "SliceRule",
    "TorchJD",
    "Uncertainty",
    "Warmup",
    "create",
    "diagnostics",
    "gramian",
    "precision",
    "register",
    "task_gradients",
]
