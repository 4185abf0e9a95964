"""`python -m assay` is the command `assay`."""

import sys

from assay.cli.__main__ import main

sys.exit(main())
