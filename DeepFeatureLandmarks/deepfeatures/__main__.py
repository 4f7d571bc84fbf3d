"""`python -m deepfeatures` is `deepfeatures`; torchrun starts it by this name."""

import sys

from deepfeatures.cli.main import main

sys.exit(main())
