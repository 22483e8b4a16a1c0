# SPDX-License-Identifier: MIT
"""``make demo``: load the address blocks of the Internet into a kernel, as IPsec policies.

What needs the network (fetching the table) comes first.  Then the program starts itself anew in a
private network namespace, where a kernel's policy database is empty and its own, and measures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import xfrm_ext as xfrm

from . import debian, namespace, synthetic
from .blocks import Block, choose, read_table
from .contenders import LoadFailed, Stage, find_ip, timed
from .gateway import IN_TREE_FROM_IPV6, Gateway
from .report import Advance, Report, Timing, duration

ROOT = Path(__file__).resolve().parent.parent

# The ways to load, as the bars and the table call them.
FROM_FILE_COLD = "load_batch_file, cold"
FROM_FILE = "load_batch_file"
AS_PROGRAM = "load_batch_file, whole program"
FROM_OBJECTS = "load(list of Policy)"
IP_BATCH = "ip -batch"
ONE_BY_ONE = "ip xfrm policy add, one by one"

# A policy with one template takes about 1.6 kB of the kernel's memory and, as an object and a
# block, 0.7 kB of ours.
BYTES_PER_POLICY = 3000


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit status is 0 only if every check passed."""
    options = _parse(arguments)
    try:
        return _measure(options) if options.outside else _prepare(options)
    except (namespace.NotPermitted, LoadFailed, xfrm.XfrmError, OSError, MemoryError) as error:
        print(f"demo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=__doc__)
    parser.add_argument(
        "--count",
        metavar="N",
        type=_count,
        default=os.environ.get("DEMO_N") or "100000",
        help="how many policies, or 'all' (default: $DEMO_N, else 100000)",
    )
    parser.add_argument("--synthetic", action="store_true", help="use the invented table")
    parser.add_argument("--seed", type=int, default=1, help="for the random choice of blocks")
    parser.add_argument("--cache", metavar="FOLDER", type=Path, help="where the table is kept")
    parser.add_argument("--keep", metavar="FILE", type=Path, help="write the ip -batch file there")
    # For the second start, inside the namespace.
    parser.add_argument("--outside", help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--reason", default="asked for", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _count(text: str) -> int | None:
    if text == "all":
        return None
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 up, or 'all', not {text!r}")
    return count


def _cache_folder(wanted: Path | None) -> Path:
    """The folder for what is fetched; one that is forgotten if there is no home to write to."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = (wanted or Path(base).expanduser() / "xfrm_ext").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        if wanted is not None:
            raise
    if wanted is None and not os.access(folder, os.W_OK):
        return Path(tempfile.mkdtemp(prefix="xfrm_ext-"))
    return folder


def _prepare(options: argparse.Namespace) -> int:
    """Outside the namespace: fetch the table, then start again inside."""
    start_inside = namespace.command()
    again = [sys.executable, "-m", "demo.run", "--outside", namespace.name()]
    again += ["--seed", str(options.seed)]
    again += ["--count", "all" if options.count is None else str(options.count)]
    if options.keep is not None:
        again += ["--keep", str(options.keep.absolute())]
    if options.synthetic:
        again.append("--synthetic")
    else:
        try:
            again += ["--table", str(debian.folder(_cache_folder(options.cache)))]
        except debian.Unavailable as error:
            again += ["--synthetic", "--reason", str(error)]
    os.chdir(ROOT)
    os.execv(start_inside[0], [*start_inside, *again])


def _measure(options: argparse.Namespace) -> int:
    """Inside the namespace: choose the blocks, load them in each way, check, report."""
    with ExitStack() as stack:
        session = stack.enter_context(xfrm.Session())
        _refuse_foreign_ground(options.outside, session)
        report = Report()
        chosen = _choose_blocks(options, report)
        gateway = Gateway(block.country for block in chosen)
        if options.keep is not None:
            file = options.keep
        else:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="xfrm_ext-"))
            file = Path(scratch, "policies.batch")
        _write(file, gateway, chosen, report)
        stage = Stage(session, chosen, gateway, file, options.seed, report)
        _load_in_every_way(stage)
    return _conclude(report)


def _refuse_foreign_ground(outside: str, session: xfrm.Session) -> None:
    """The demo flushes policies: it must not run where anybody else's are."""
    if namespace.name() == outside or session.spd.count().total:
        raise namespace.NotPermitted("this isn't a fresh network namespace: not touching its IPsec")


def _choose_blocks(options: argparse.Namespace, report: Report) -> list[Block]:
    if options.synthetic:
        report.say(f"Blocks: a SYNTHETIC table, invented in the shape of the real one ({options.reason})")
    else:
        report.say("Blocks: the Internet's, with their countries (Debian's tor-geoipdb, CC BY-SA 4.0)")
        report.say(f"        {options.table}")

    def tables() -> Iterator[list[Block]]:
        for version, name in debian.FILES.items():
            doing = "inventing" if options.synthetic else "reading"
            with report.bar(f"{doing} the blocks of IPv{version}", None):
                if options.synthetic:
                    table = synthetic.table(version, options.seed)
                else:
                    table = read_table(options.table / name, version)
            yield _without_quadratic(table, report) if version == 6 else table

    chosen = choose(tables(), options.count, options.seed)
    if options.count is not None and len(chosen) < options.count:
        report.say(f"There are only {len(chosen):,} blocks; taking them all.")
    _require_memory(len(chosen))
    return chosen


def _without_quadratic(table: list[Block], report: Report) -> list[Block]:
    """The IPv6 blocks that a kernel can take in bearable time, whoever loads them."""
    fit = [block for block in table if block.length >= IN_TREE_FROM_IPV6]
    report.say(
        f"Left out: {len(table) - len(fit):,} of the {len(table):,} IPv6 blocks, those shorter than"
        f" /{IN_TREE_FROM_IPV6}. The kernel keeps such policies in one list\n"
        "and walks all of it for each one added: with all of them, any loader would take hours."
    )
    return fit


def _require_memory(policies: int) -> None:
    """Say so now, rather than be killed by the kernel half way."""
    needed = policies * BYTES_PER_POLICY
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable" and int(amount.split()[0]) * 1024 < needed:
            raise MemoryError(
                f"{policies:,} policies need about {needed / 1e9:.1f} GB of memory,"
                f" {amount.strip()} are free: ask for fewer (DEMO_N=...)"
            )


def _write(file: Path, gateway: Gateway, blocks: list[Block], report: Report) -> None:
    with (
        report.bar("writing the ip -batch file", len(blocks)) as advance,
        file.open("w", encoding="ascii") as lines,
    ):
        for done, block in enumerate(blocks, 1):
            lines.write(gateway.line(block))
            if done % 1000 == 0:
                advance(done, len(blocks))
    report.say(
        f"{len(blocks):,} policies, {len(gateway.tunnels)} tunnels;"
        f" {file.stat().st_size / 1e6:.1f} MB as a file for ip -batch"
    )


def _load_in_every_way(stage: Stage) -> None:
    """Each contender once; all but the first find tables that the first made the kernel grow."""
    everything = len(stage.blocks)
    stage.run(FROM_FILE_COLD, "first load: the kernel's tables grow", stage.load_file, everything)
    stage.run(FROM_FILE, "tables grown, as for all below", stage.load_file, everything)
    stage.run(AS_PROGRAM, "with the start of Python", stage.load_file_as_program)

    policies = _build(stage)
    spd = stage.session.spd
    stage.run(FROM_OBJECTS, "", lambda advance: spd.load(policies, progress=advance), everything)

    ip = find_ip()
    if ip is None:
        stage.report.say("The program ip (package iproute2) isn't installed: nothing to compare with.")
        return
    stage.run(IP_BATCH, "a whole program, the same file", lambda _: stage.load_with_ip(ip))
    stage.run_one_by_one(ip, ONE_BY_ONE)


def _build(stage: Stage) -> list[xfrm.Policy]:
    """The objects for ``load``, with a line of their own in the table."""
    way = "building the Policy objects"
    policies: list[xfrm.Policy] = []

    def build(advance: Advance) -> None:
        for done, block in enumerate(stage.blocks, 1):
            policies.append(stage.gateway.policy(block))
            if done % 1000 == 0:
                advance(done, None)

    with stage.report.bar(way, len(stage.blocks)) as advance:
        seconds = timed(lambda: build(advance))
    note = "in memory only, for the next line"
    stage.report.timings.append(Timing(way, note, len(policies), seconds, compared=False))
    return policies


def _conclude(report: Report) -> int:
    """The table, the comparison in words, and the exit status."""
    policies = report.timings[0].policies
    report.table(f"{policies:,} policies into the kernel", IP_BATCH)
    seconds = {timing.way: timing.seconds for timing in report.timings}
    for way in (FROM_FILE, FROM_OBJECTS):
        report.say(f"{way}: {policies:,} policies in {duration(seconds[way])} s.")
    if IP_BATCH in seconds:
        reference = seconds[IP_BATCH]
        report.say(
            f"{FROM_FILE} is {reference / seconds[FROM_FILE]:.1f} times as fast as {IP_BATCH} on the"
            f" same file; {reference / seconds[AS_PROGRAM]:.1f} times with the start of Python"
            " counted too."
        )
    if report.failures:
        report.say(f"{report.failures} of {report.checks} checks FAILED.")
        return 1
    report.say(f"All {report.checks} checks passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
