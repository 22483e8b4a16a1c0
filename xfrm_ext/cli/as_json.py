# SPDX-License-Identifier: MIT
"""What commands of `ip xfrm` print with -j: the documents of docs/json.md."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from xfrm_ext.cli.context import Context
    from xfrm_ext.iproute2.command import Command


def show_json(context: Context, command: Command, blocks: Iterable[Any]) -> None:
    """An array of what a dump found, or the document that a request was answered with."""
    from xfrm_ext import documents

    values = _values(context, blocks, context.show_keys and command.keys)
    if command.verb == "list":
        for piece in documents.array(values, pretty=context.pretty):
            context.out.write(piece)
        return
    for value in values:
        context.out.write(documents.line(value, pretty=context.pretty))


def _values(context: Context, blocks: Iterable[Any], show_keys: bool) -> Iterator[dict[str, Any]]:
    from xfrm_ext import codec as codecs
    from xfrm_ext.documents import to_document
    from xfrm_ext.request import Request
    from xfrm_ext.transport import messages

    codec = codecs.select()
    for block in blocks:
        for message in messages(block):
            value = codec.decode(message)
            body = value.body if isinstance(value, Request) else value
            yield to_document(body, show_keys=show_keys, interface_name=context.interface_name)


def show_event(context: Context, command: Command, message: Any, namespace_id: int | None) -> None:
    """One line for one event, with the time when it was read."""
    from xfrm_ext import codec, documents

    event = codec.select().decode_event(message, namespace_id)
    document = documents.event_document(
        event,
        show_keys=context.show_keys and command.keys,
        interface_name=context.interface_name,
        time=documents.now(),
    )
    context.out.write(documents.line(document, pretty=context.pretty))
