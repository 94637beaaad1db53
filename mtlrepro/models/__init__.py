"""Networks with one output per task: `create(name, tasks, **options)` makes one."""

from mtlrepro.models.base import MultiTaskModel
from mtlrepro.models.boxes import Detections
from mtlrepro.models.description import describe_model
from mtlrepro.models.factory import MODELS, create

__all__ = ["MODELS", "Detections", "MultiTaskModel", "create", "describe_model"]
