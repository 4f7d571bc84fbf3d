"""`python -m deepfeatures.worker`, the former command of `deepfeatures.service.server`; works for one version."""

import sys
from pathlib import Path

from deepfeatures.deprecation import warn_renamed
from deepfeatures.service.server import main

if __name__ == "__main__":
    warn_renamed("python -m deepfeatures.worker", "python -m deepfeatures.service.server", stacklevel=1)
    main(Path(sys.argv[1]))
