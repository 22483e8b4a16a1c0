# SPDX-License-Identifier: MIT
"""Every kernel test gets a session on a fresh network namespace of the real kernel; the host's is never touched."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

from xfrm_ext import Session
from xfrm_ext.testing import become_root, network_namespace

# Set in CI: there, a kernel test that can't run is a failure.
KERNEL_REQUIRED = os.environ.get("XFRM_EXT_REQUIRE_KERNEL") == "1"

_why_no_kernel = ""


def pytest_configure() -> None:
    """An ordinary user becomes root of a user namespace, while the process still has one thread."""
    global _why_no_kernel
    try:
        become_root()
    except OSError as error:
        _why_no_kernel = f"not root, and user namespaces are not allowed here: {error}"


@pytest.fixture
def namespace() -> Iterator[int]:
    """A fresh network namespace, as a file descriptor."""
    why = _why_no_kernel
    if not why:
        try:
            with network_namespace() as descriptor:
                yield descriptor
                return
        except PermissionError as error:
            why = f"network namespaces are not allowed here: {error}"
    if KERNEL_REQUIRED:
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture
def session(namespace: int) -> Iterator[Session]:
    """A session on a fresh network namespace."""
    with Session(namespace) as opened:
        yield opened


# Slow machines and sanitizers are no errors.
hypothesis.settings.register_profile("all", deadline=None, max_examples=150)
hypothesis.settings.load_profile("all")
