"""The stages of the pipeline: scripts that run from the root of the repository, as `python -m stages.NAME`."""

import sys

from tinylm.base.errors import UserError
from tinylm.base.extras import require

try:
    require("pipeline", "this stage")  # here, because a stage imports these packages before it runs
except UserError as error:
    sys.exit(f"error: {error}")
