# SPDX-License-Identifier: MIT
"""The examples run, and do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xfrm_ext import Direction, Policy, Session
from xfrm_ext.testing import inside

ROOT = Path(__file__).resolve().parent.parent


def run_in(namespace: int, *command: str) -> str:
    """Runs a command in a network namespace and returns what it printed."""
    with inside(namespace):
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_articles_policy(namespace: int, session: Session) -> None:
    output = run_in(namespace, sys.executable, "examples/add_one_policy.py")
    assert output.startswith("Policy(direction='in', index=8, current=LifetimeCurrent(add_time=")
    assert list(session.spd.dump()) == []


def test_the_articles_policy_on_bytes(namespace: int, session: Session) -> None:
    sent, got, policy = run_in(namespace, sys.executable, "examples/add_one_policy_rtnl.py").splitlines()
    assert sent.startswith("sent b8000000 13000500 00000000 00000000")
    assert got.startswith("got  c4000000 13000200")
    assert policy.startswith("Policy(direction='in', index=8")
    assert list(session.spd.dump()) == []


def test_the_articles_policy_in_c(namespace: int, session: Session, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "the package was built here, so there is a compiler"
    program = str(tmp_path / "add_one_policy")
    sources = ["examples/add_one_policy.c", "csrc/rtnl.c", "csrc/message.c"]
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Icsrc", "-Ixfrm_ext", "-pthread"]
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}  # of the sanitizers
    subprocess.run([compiler, *flags, *sources, "-o", program], cwd=ROOT, check=True, env=environment)
    assert run_in(namespace, program) == ""
    (policy,) = session.spd.dump()
    assert policy.direction == Direction.IN
    assert session.spd.get(Policy(direction="in")) == policy
    with pytest.raises(AssertionError, match="the policy was not added: File exists"):
        run_in(namespace, program)


def test_what_ip_lists(namespace: int, session: Session) -> None:
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed: nothing to list the policy with")
    session.spd.add(Policy(direction="in"))
    output = run_in(namespace, "ip", "xfrm", "policy", "list")
    assert "src 0.0.0.0/0 dst 0.0.0.0/0" in output
    assert "dir in priority 0" in output
