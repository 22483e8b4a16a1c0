# SPDX-License-Identifier: MIT
"""``python -m xfrm_ext``, and the console script `xfrm`."""

import os
import sys


def command() -> int:
    """Runs the command line of this process. Returns its exit status."""
    try:
        from xfrm_ext.cli import main

        status = main()
    except KeyboardInterrupt:  # while modules were imported
        status = 130
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:  # nobody reads it any more: Python shall not complain when it flushes it again
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return status


if __name__ == "__main__":
    sys.exit(command())
