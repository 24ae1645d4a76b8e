"""``python -m ltp``: the same as the ``ltp`` command."""

import sys

from ltp.cli import main

sys.exit(main())
