# SPDX-License-Identifier: MIT
"""Checks that the wheel and the source distribution in a folder hold what they need, and that both work.

A wheel without the extension, or a source distribution without a header, is built without complaint.
"""

from __future__ import annotations

import os
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
    for module in ("_native", "_objects"):
        if not any(name.startswith(f"xfrm_ext/{module}.") and name.endswith(".so") for name in names):
            fail(f"{wheel.name} has no {module}")
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "xfrm_ext").rglob("*.py")}
    wanted |= {"xfrm_ext/py.typed", "xfrm_ext/documents/schema.json"}
    if missing := wanted - set(names):
        fail(f"{wheel.name} lacks {sorted(missing)}")
    with tarfile.open(source) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").iterdir()}
    wanted |= {"build_ffi.py", "pyproject.toml", "README.md", "LICENSE"}
    if missing := wanted - files:
        fail(f"{source.name} lacks {sorted(missing)}")


def check_install(package: Path, codec: str = "native") -> None:
    """Installs a wheel, or builds and installs a source distribution, away from the checkout, and uses it."""
    environment = {key: value for key, value in os.environ.items() if key != "XFRM_EXT_CODEC"}
    if codec == "pure":
        environment["XFRM_EXT_NO_NATIVE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package]
        subprocess.run(command, check=True, env=environment)
        program = "import xfrm_ext as x; print(x.wire.NAME, len(x.codec.select().encode(x.Policy(direction='in'))))"
        out = subprocess.run(
            [python, "-c", program],
            check=True,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if out.stdout != f"{codec} 184\n":
            fail(f"{package.name} is installed, but does not work: {out.stdout}{out.stderr}")


def main() -> None:
    folder = Path(sys.argv[1])
    wheels, sources = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sources) != 1:
        fail(f"{folder} should hold one wheel and one source distribution")
    check_contents(wheels[0], sources[0])
    for package, codec in ((wheels[0], "native"), (sources[0], "native"), (sources[0], "pure")):
        check_install(package.resolve(), codec)
        print(f"{package.name}: complete, installs, works ({codec})")


if __name__ == "__main__":
    main()
