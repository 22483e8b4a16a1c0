# SPDX-License-Identifier: MIT
"""Pacer: loads that wait for the kernel's hash tables to grow, where that is cheaper than running ahead."""

from __future__ import annotations

import time
from collections.abc import Callable

from xfrm_ext.errors import XfrmError
from xfrm_ext.info import SpdInfo


class Pacer:
    """Waits for the kernel's hash growth where that is cheaper than running ahead of it.

    The kernel doubles its policy tables from a work item, at 8 to 16 ms a doubling (it waits for RCU), and only an
    addition asks it to: one doubling, while there are more policies than buckets. Until then insertion walks chains
    that a tight loader makes hundreds long. So this waits for one doubling before a send, and then lets that go,
    for it asks for the next.
    """

    _STEP_COST = 30e-9  # seconds to walk one entry of a chain, measured
    _DOUBLING = 8e-3  # seconds that a doubling takes, until one has been measured
    _LARGEST = 524287  # the mask at which the tables were seen to stop growing
    _PATIENCE = 0.1  # seconds without growth after which to send: on a busy machine the work item itself waits
    _TRIES = 3  # such waits in a row after which to give up

    def __init__(self, info: Callable[[], SpdInfo]) -> None:
        self._info = info
        self._loaded = 0
        self._mask = -1
        self._total = 0
        self._doubling = self._DOUBLING
        self._fruitless = 0
        self._given_up = False

    def before(self, count: int, remaining: int | None, deadline: float | None) -> None:
        """Called before each send of `count` additions, `remaining` items from the end (None: not known)."""
        if self._mask < 0:
            self._look()
            self._loaded = self._total
        ahead = self._loaded if remaining is None else remaining
        if not self._given_up and self._behind(ahead):
            self._wait(deadline)
        self._loaded += count

    def _behind(self, ahead: int) -> bool:
        if self._mask >= min(self._loaded, self._LARGEST):
            return False
        return ahead * self._loaded / (self._mask + 1) * self._STEP_COST > self._doubling

    def _wait(self, deadline: float | None) -> None:
        """Waits until the tables have grown since the last look, or it takes too long."""
        if self._look():
            return
        started = now = time.monotonic()
        while not self._given_up and now - started < self._PATIENCE and (deadline is None or now < deadline):
            time.sleep(0.001)
            grown, now = self._look(), time.monotonic()
            if grown:
                self._doubling = now - started
                self._fruitless = 0
                return
        self._fruitless += 1
        self._given_up = self._given_up or self._fruitless == self._TRIES

    def _look(self) -> bool:
        """Asks for the mask. Returns whether it grew."""
        try:
            info = self._info()
        except XfrmError:  # the load itself will say what is wrong
            self._given_up = True
            return False
        self._total = info.total
        grown = info.hash_mask > self._mask
        self._mask = info.hash_mask
        return grown
