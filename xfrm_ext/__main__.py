# SPDX-License-Identifier: MIT
"""``python -m xfrm_ext``: the command `xfrm`."""

import sys

from xfrm_ext.cli import main

if __name__ == "__main__":
    sys.exit(main())
