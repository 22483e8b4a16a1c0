# SPDX-License-Identifier: MIT
"""Checks that the wheel and the source distribution in a folder hold what they need, and that both work.

A wheel without the extension, or a source distribution without a header, is built without complaint.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def fail(message: str) -> None:
    sys.exit(f"check_wheel: {message}")


def check_contents(wheel: Path, source: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    if not any(name.startswith("xfrm_ext/_native") and name.endswith(".so") for name in names):
        fail(f"{wheel.name} has no extension")
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "xfrm_ext").rglob("*.py")} | {"xfrm_ext/py.typed"}
    if missing := wanted - set(names):
        fail(f"{wheel.name} lacks {sorted(missing)}")
    with tarfile.open(source) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").iterdir()}
    wanted |= {"build_ffi.py", "pyproject.toml", "README.md", "LICENSE"}
    if missing := wanted - files:
        fail(f"{source.name} lacks {sorted(missing)}")


def check_install(package: Path) -> None:
    """Installs a wheel, or builds and installs a source distribution, away from the checkout, and uses it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package], check=True)
        program = "import xfrm_ext as x; print(len(x.codec.native.encode(x.Policy(direction='in'))))"
        out = subprocess.run(
            [python, "-c", f"import xfrm_ext.codec.native; {program}"],
            check=True,
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if out.stdout != "184\n":
            fail(f"{package.name} is installed, but does not work: {out.stdout}{out.stderr}")


def main() -> None:
    folder = Path(sys.argv[1])
    wheels, sources = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sources) != 1:
        fail(f"{folder} should hold one wheel and one source distribution")
    check_contents(wheels[0], sources[0])
    for package in (wheels[0], sources[0]):
        check_install(package.resolve())
        print(f"{package.name}: complete, installs, works")


if __name__ == "__main__":
    main()
