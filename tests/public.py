# SPDX-License-Identifier: MIT
"""The package's public names, for texts of expressions that tests evaluate."""

from __future__ import annotations

import xfrm_ext

PUBLIC = {name: getattr(xfrm_ext, name) for name in xfrm_ext.__all__}
