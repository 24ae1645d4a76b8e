"""``python -m ltp``: the same as the ``ltp`` command."""

import sys

from ltp.cli.main import main

sys.exit(main())
