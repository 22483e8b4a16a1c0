# SPDX-License-Identifier: MIT
"""Every kernel test gets a session on a fresh network namespace of the real kernel; the host's is never touched."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from xfrm_ext import Session
from xfrm_ext.cli.context import Context
from xfrm_ext.testing import become_root, inside, network_namespace

# Set in CI: there, a kernel test that can't run is a failure.
KERNEL_REQUIRED = os.environ.get("XFRM_EXT_REQUIRE_KERNEL") == "1"

# The reasons for which a test may be skipped there all the same.
LISTED_SKIPS = (
    "this ip does not know these words",  # of the newest iproute2, which no distribution has yet
    "a sanitizer takes memory that is read after it was freed for an error",
    "where Python keeps bytes nobody knows",
)

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


@pytest.fixture
def context(namespace: int) -> Iterator[Context]:
    """What a subcommand of `xfrm` is given, in a fresh network namespace; its output is kept."""
    made = Context(io.StringIO(), io.StringIO())
    with inside(namespace):
        made.session()
        made.handle()
        yield made
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skip whose reason is not listed is a failure."""
    report = yield
    if KERNEL_REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(listed in reason for listed in LISTED_SKIPS):
            report.outcome, report.longrepr = "failed", f"a skip that is not listed in tests/conftest.py: {reason}"
    return report


# Slow machines and sanitizers are no errors.
hypothesis.settings.register_profile("all", deadline=None, max_examples=150)
hypothesis.settings.load_profile("all")
