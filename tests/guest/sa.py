# SPDX-License-Identifier: MIT
"""States through `ip xfrm`, until the package has them itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from guest.network import Host


@dataclass
class State:
    source: str
    destination: str
    spi: int
    protocol: str
    mode: str
    reqid: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> list[str]:
        return ["src", self.source, "dst", self.destination, "proto", self.protocol, "spi", str(self.spi)]

    def words(self) -> list[str]:
        words = [*self.id, "mode", self.mode, "reqid", str(self.reqid)]
        for name, value in self.options.items():
            match name, value:
                case "authentication", (algorithm, key, bits):
                    words += ["auth-trunc", algorithm, "0x" + key, str(bits)]
                case "encryption", (algorithm, key):
                    words += ["enc", algorithm, "0x" + key if key else ""]
                case "aead", (algorithm, key, bits):
                    words += ["aead", algorithm, "0x" + key, str(bits)]
                case "compression", algorithm:
                    words += ["comp", algorithm]
                case "encapsulation", (kind, source, destination):
                    words += ["encap", kind, str(source), str(destination), "0.0.0.0"]
                case "if_id", number:
                    words += ["if_id", hex(number)]
                case "selector", (source, destination):
                    words += ["sel", "src", source, "dst", destination]
                case other:
                    raise ValueError(other)
        return words


def add(host: Host, state: State) -> None:
    host.run("ip", "xfrm", "state", "add", *state.words())


def packets(host: Host, state: State) -> int:
    text = host.run("ip", "-s", "xfrm", "state", "get", *state.id)
    return int(re.findall(r"lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)", text)[0])
