"""narvl: vision-language models that answer in one parallel step (NARVL, arXiv 2403.02249), as a fairseq plugin.

Importing the package registers its models, criterions and tasks with fairseq (``--user-dir narvl``).
"""

import narvl.compat  # isort: skip  # before anything imports torchvision
import narvl.compat_checkpoints  # isort: skip  # before anything loads a checkpoint
from narvl import compat_training, criterions, models, tasks
from narvl.errors import without_tracebacks as _without_tracebacks
from narvl.models import narvl as _narvl
from narvl.models import ofa as _ofa
from narvl.tasks import captioning as _captioning
from narvl.tasks import entailment as _entailment
from narvl.tasks import grounding as _grounding
from narvl.tasks import vqa as _vqa

_without_tracebacks()

__all__ = ["criterions", "models", "tasks"]
