# SPDX-License-Identifier: MIT
"""Spd: the verbs on the Security Policy Database."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from xfrm_ext import wire
from xfrm_ext.ahead import ahead
from xfrm_ext.attribute import SecurityContext
from xfrm_ext.bulk import (
    BATCH,
    Load,
    LoadResult,
    OnError,
    Operation,
    PolicyItems,
    Progress,
    block_sizes,
    check_options,
    load,
)
from xfrm_ext.checks import choice, choices, shown
from xfrm_ext.constants import DefaultAction, Direction, Message, PolicyType
from xfrm_ext.errors import KernelError, ValidationError, compiled_module_needed
from xfrm_ext.info import PolicyDefaults, SpdInfo, SpdThresholds
from xfrm_ext.mark import Mark
from xfrm_ext.policy import Policy, PolicyId
from xfrm_ext.request import Request
from xfrm_ext.selector import Selector
from xfrm_ext.value import is_selected

if TYPE_CHECKING:  # as in session.py
    from xfrm_ext.columns_read import Columns
    from xfrm_ext.delete_where import DeleteResult, Named
    from xfrm_ext.session import Session

_TYPES = choices(PolicyType)
_ITEMS = PolicyItems()


class Spd:
    """The Security Policy Database of a session's network namespace. Made by Session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, policy: Policy) -> None:
        """Adds a policy (XFRM_MSG_NEWPOLICY).

        Raises AlreadyExists when there is one with the same selector, direction, type, mark, if_id and
        security context, even with another priority; KernelError, ReplyTimeout, RepliesLost.
        """
        self._session._talk(_policy(policy), "add policy")

    def update(self, policy: Policy) -> None:
        """Replaces the policy of the same identity, or adds it (XFRM_MSG_UPDPOLICY). Raises as `add` does."""
        self._session._talk(Request(Message.UPDPOLICY, _policy(policy)), "update policy")

    def get(
        self,
        which: Policy | PolicyId | Selector | None = None,
        direction: Direction | int | str | None = None,
        *,
        index: int = 0,
        policy_type: PolicyType | int | str = PolicyType.MAIN,
        mark: Mark | None = None,
        if_id: int | None = None,
        security_context: SecurityContext | str | None = None,
    ) -> Policy:
        """Reads one policy (XFRM_MSG_GETPOLICY): that of a Policy or PolicyId, or of a selector (or an index)
        with direction, type, mark, if_id and security context as it was added. Raises NotFound when there is
        none; ValidationError, KernelError, ReplyTimeout."""
        named = _policy_id(which, direction, index, policy_type, mark, if_id, security_context)
        return self._session._ask(Request(Message.GETPOLICY, named), "get policy", Policy)

    def delete(
        self,
        which: Policy | PolicyId | Selector | None = None,
        direction: Direction | int | str | None = None,
        *,
        index: int = 0,
        policy_type: PolicyType | int | str = PolicyType.MAIN,
        mark: Mark | None = None,
        if_id: int | None = None,
        security_context: SecurityContext | str | None = None,
    ) -> None:
        """Deletes one policy (XFRM_MSG_DELPOLICY), named as for `get`. Raises NotFound when there is none."""
        named = _policy_id(which, direction, index, policy_type, mark, if_id, security_context)
        self._session._talk(Request(Message.DELPOLICY, named), "delete policy")

    def dump(self) -> Iterator[Policy]:
        """Reads all policies, newest first, main and sub and those of sockets, in constant memory.

        The kernel reads its table in pieces: what others change meanwhile may be seen or not. Policies may be
        added and deleted while iterating. The timeout is for each piece. Of more than some hundred, a thread
        receives the next while those before are looked at; it ends a moment after the iterator. Python's garbage
        collector does not look at the policies. `dump_columns` is faster than keeping them all.
        """
        own = self._session._codec.wire
        request, operation = wire.policy_dump_request(), "dump policies"
        if wire.NAME == "native" and is_selected(own):
            from xfrm_ext.policy_rows import DumpedPolicies, are_made_in_c

            if are_made_in_c():
                maker = DumpedPolicies()
                return maker.all(self._session._dump_decoded(request, operation, maker.decoder))
        blocks = self._session._dump(request, operation)
        return (Policy._from_wire(one, own) for block in blocks for one in own.canonical_policies(block))

    def dump_columns(self, fields: Iterable[str] | None = None, *, text: bool = False) -> Columns:
        """Reads all policies, as `dump` does, into an array for each field: see Columns and docs/columns_read.md.

        ``fields`` are names of columns (None: all, `Columns.rows` of the order of `dump`); a field that a policy
        does not have is 0. ``text`` makes prefixes ("10.0.0.0/8") and addresses ("192.0.2.1") lists of str, as
        Selector.source and Template.source have them. Raises ValidationError, NotCompiledError, KernelError,
        ProtocolError, ReplyTimeout.
        """
        from xfrm_ext.columns_read import Selection

        selection = Selection(fields, text, states=False)
        info = self.count()
        expected = info.total + info.socket_input + info.socket_output + info.socket_forward
        request = wire.policy_dump_request()
        return selection.read(partial(self._session._dump_decoded, request, "dump policies"), expected)

    def flush(self, policy_type: PolicyType | int | str = PolicyType.MAIN) -> None:
        """Deletes all policies of a type (XFRM_MSG_FLUSHPOLICY): main by default, which leaves sub policies."""
        kind = PolicyType(choice(policy_type, "policy_type", _TYPES, PolicyType))
        body = None if kind == PolicyType.MAIN else kind
        self._session._talk(Request(Message.FLUSHPOLICY, body), "flush policies")

    def count(self) -> SpdInfo:
        """The kernel's counters of the SPD (XFRM_MSG_GETSPDINFO); ``count().total`` is the sum."""
        return self._session._ask(Request(Message.GETSPDINFO), "get SPD info", SpdInfo)

    def set_thresholds(self, ipv4: tuple[int, int] | None = None, ipv6: tuple[int, int] | None = None) -> None:
        """From which prefix lengths on, (local, remote), policies are found by hash (XFRM_MSG_NEWSPDINFO); None
        leaves them as they are. The kernel sorts its policies anew, a moment later. It begins with (32, 32) and
        (128, 128)."""
        self._session._talk(SpdThresholds(ipv4, ipv6), "set SPD thresholds")

    def suggest_thresholds(self, policies: Iterable[Policy] | None = None) -> SpdThresholds:
        """The hash thresholds that fit ``policies``, or those that are installed: for `set_thresholds`. Nothing is
        changed. A family is None where what is set fits, or where it has no policy.

        A policy whose prefixes are both at least as long as the thresholds is found by hash, of both prefixes cut
        to the length of the thresholds: policies that are equal so far are in one chain. An addition goes through a
        chain, so too short thresholds are slow: (0, 0) has all policies in one, and 16,000 of them take 5 s. The
        others are in a tree (one for each direction, type and if_id), where additions are fast and packets find
        their policy fast; but each update and each deletion by selector goes through the whole tree.

        So this looks for the thresholds, among the lengths that the prefixes have, at which the sum of
        3 * (policies in a tree)**2 over all trees and (policies in a chain)**2 over all chains is least: the
        entries that the kernel passes if each policy is added, and updated or deleted, once, at what passing one
        takes (measured). Of equals it takes the longest. A few short prefixes stay in the tree. Policies that
        differ only in ports, marks or if_id are in one chain at any thresholds. About 300 bytes are kept for each
        policy meanwhile. Raises ValidationError.
        """
        from xfrm_ext.thresholds import suggest

        now = self.count().thresholds
        return suggest(self.dump() if policies is None else policies, now)

    def defaults(self) -> PolicyDefaults | None:
        """What happens to packets that no policy is for (XFRM_MSG_GETDEFAULT); None: the kernel is older than Linux
        5.15 and lets them pass."""
        try:
            return self._session._ask(Request(Message.GETDEFAULT), "get policy defaults", PolicyDefaults)
        except KernelError as error:
            if error.errno == errno.EINVAL:
                return None
            raise

    def set_defaults(
        self,
        input: DefaultAction | int | str = DefaultAction.UNSPEC,
        forward: DefaultAction | int | str = DefaultAction.UNSPEC,
        output: DefaultAction | int | str = DefaultAction.UNSPEC,
    ) -> None:
        """Has packets that no policy is for pass ("accept") or dropped ("block"; XFRM_MSG_SETDEFAULT). "unspec"
        leaves it as it is."""
        self._session._talk(PolicyDefaults(input, forward, output), "set policy defaults")

    def expire(self, policy: Policy, *, hard: bool = False) -> None:
        """Has the kernel say that a policy expired (XFRM_MSG_POLEXPIRE); with ``hard`` it also deletes it."""
        from xfrm_ext.event import PolicyExpired

        expired = PolicyExpired(_policy(policy), bool(hard))
        self._session._talk(Request(Message.POLEXPIRE, expired), "expire policy")

    def load(
        self,
        source: Iterable[Policy],
        *,
        operation: Operation = "add",
        on_error: OnError = "raise",
        batch: int = BATCH,
        progress: Progress | None = None,
        timeout: float | None = None,
        thresholds: SpdThresholds | Literal["suggest"] | None = None,
    ) -> LoadResult:
        """Adds, updates or deletes many policies, at the kernel's own speed.

        ``source`` may be any iterable; a generator is read in constant memory. ``on_error`` says what to do
        when the kernel refuses one: "raise" stops, raising LoadError, and "rollback" also removes what this
        call added (it keeps about 200 bytes for each policy); both may have carried out items that came after
        it in the same send. "collect" goes on, and the result lists the refusals. ``batch`` is the number of
        messages in a send. ``progress(done, total)`` is called after each send, total None when the source
        has no length. ``timeout`` in seconds is for the whole load. ``thresholds`` are set before: an
        SpdThresholds, or "suggest" for those that fit the source, which must be a list or tuple then (see
        `suggest_thresholds`); the kernel sorts what is there anew a moment later. None leaves them as they are.

        The kernel keeps policies with short prefixes in trees, and goes through all of a tree after each that is
        deleted by selector. Where that would take longer than a dump, many are deleted by the index that one dump
        shows (it keeps about 300 bytes for each policy in a tree), with the same result for each; only that one
        which somebody else deletes and adds again meanwhile counts as not found. See docs/bulk.md.

        Whatever ends a load early, the result is exact: LoadError carries it as ``result``, and an exception
        from elsewhere (KeyboardInterrupt, the source's own) as its attribute ``load_result``.
        """
        if thresholds is not None:
            check_options(operation, on_error, batch, progress, timeout)
            self._set_for(thresholds, source)
        if operation == "delete":
            return self._delete_many(source, on_error, batch, progress, timeout)
        session = self._session
        wait, transport = session.timeout, session._transport
        return load(transport, _ITEMS, self.count, wait, source, operation, on_error, batch, progress, timeout)

    def _delete_many(
        self,
        source: Iterable[Policy],
        on_error: OnError,
        batch: int,
        progress: Progress | None,
        timeout: float | None,
    ) -> LoadResult:
        from xfrm_ext.removal import Removals

        wait, transport = self._session.timeout, self._session._transport
        items = Removals(transport, self.count, len(source) if isinstance(source, Sized) else None, wait)
        result: Any = None
        try:
            result = load(transport, items, self.count, wait, source, "delete", on_error, batch, progress, timeout)
        except BaseException as error:
            result = getattr(error, "load_result", getattr(error, "result", None))
            raise
        finally:
            try:
                items.close()
            except BaseException as error:
                error.load_result = result  # type: ignore[attr-defined]
                raise
        return result  # type: ignore[no-any-return]

    def _set_for(self, thresholds: object, source: object) -> None:
        """Sets the thresholds that a load of `source` was given."""
        if thresholds == "suggest":
            if not isinstance(source, (list, tuple)):
                raise ValidationError("thresholds", "'suggest'", "is for a source that is a list or tuple")
            thresholds = self.suggest_thresholds(source)
        if not isinstance(thresholds, SpdThresholds):
            raise ValidationError("thresholds", shown(thresholds), "is not an SpdThresholds, 'suggest' or None")
        if thresholds != SpdThresholds():
            self._session._talk(thresholds, "set SPD thresholds")

    def delete_where(
        self,
        predicate: Callable[[Policy], object] | Callable[[Columns], object],
        *,
        fields: Iterable[str] | None = None,
        on_error: OnError = "collect",
        batch: int = BATCH,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> DeleteResult:
        """Deletes the policies that ``predicate`` is true of, main and sub, at the kernel's own speed.

        With ``fields`` (names of columns, see `dump_columns`) it is called with Columns instead, some policies at a
        time, and returns a mask: an array or a sequence with a value for each row.

        All policies are read and all are chosen before the first is deleted: what the predicate raises leaves them
        as they are. (Those of sockets are not shown to it: nobody else can delete them.) They are deleted by index,
        so what an update makes of one meanwhile is deleted too. One that was deleted and added again stays; that
        one, and one that is just gone, is in the result's ``vanished``, which is no error. The errors of ``failed``
        say ``which`` policy each is about. About 200 bytes are kept for each that was chosen. on_error "raise"
        stops behind the send that the first error was in. The rest is as for `load`. Raises ValidationError,
        LoadError, KernelError, ReplyTimeout.
        """
        from xfrm_ext.delete_where import Choice, Deletion, named, policy_names, without_index
        from xfrm_ext.thresholds import limits_of

        session = self._session
        codec = session._codec
        choice = Choice(predicate, fields, states=False)

        def policies() -> Iterator[Named]:
            limits = limits_of(self.count())
            for block in session._dump(wire.policy_dump_request(), "dump policies"):
                yield from policy_names(block, limits, codec.wire, choice)

        one = Deletion(session._transport, _ITEMS, self.count, lambda name: named(codec, without_index(name)))
        return one.run(policies(), on_error, batch, progress, timeout, session.timeout)

    def load_columns(
        self,
        template: Policy,
        *,
        operation: Operation = "add",
        on_error: OnError = "raise",
        batch: int = BATCH,
        progress: Progress | None = None,
        timeout: float | None = None,
        **columns: Any,
    ) -> LoadResult:
        """Adds, updates or deletes as many policies as the columns have rows: ``template`` with the fields of each
        row in place of its own.

        A column is a buffer (numpy, array, memoryview, bytes), a list, a tuple, a range or an Arrow array; a
        single value is that of all rows. Names are those of fields (``priority``, ``template_reqid``):
        docs/columns_write.md lists them, and what each may be.

        All rows are checked before anything is sent: ValidationError names the column and the row
        (``destination[17]``). The options, the result and what else may be raised are as for `load`.
        """
        with compiled_module_needed("a load from columns"):
            from xfrm_ext.columns_write import load_columns
        session = self._session
        return load_columns(
            session._transport,
            _ITEMS,
            self.count,
            session.timeout,
            template,
            columns,
            operation,
            on_error,
            batch,
            progress,
            timeout,
        )

    def load_batch_file(
        self,
        path: str | os.PathLike[str],
        *,
        on_error: OnError = "raise",
        batch: int = BATCH,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> LoadResult:
        """Carries out a file in the format that ``ip -batch`` reads, parsed in C.

        Lines are ``xfrm policy add|update|delete|flush ...``, with or without ``xfrm``, as `ip` takes them.
        The whole file is checked before anything is sent, and BatchFileError raised for the first line that is
        wrong; with on_error "collect", such lines are listed in the result like those that the kernel refuses.
        "rollback" wants a file that only adds. The rest is as for `load`. Raises OSError when the file can't
        be read, or is written while it is checked.
        """
        with compiled_module_needed("a batch file"):
            from xfrm_ext.batchfile import BatchFile
        batch, timeout = check_options("add", on_error, batch, progress, timeout)
        session = self._session
        one = Load(
            session._transport, _ITEMS, self.count, "load", on_error, batch, progress, timeout, session.timeout
        )
        file = BatchFile(path, self._session._transport.interface_index)
        try:
            if on_error != "collect":
                one.total = file.check(only_adds=on_error == "rollback")
            with ahead(file.parse(block_sizes(batch, progress))) as blocks:
                return one.run(blocks)
        finally:
            file.close()


def _policy(value: object) -> Policy:
    if isinstance(value, Policy):
        return value
    raise ValidationError("policy", shown(value), "is not a Policy")


def _policy_id(
    which: Policy | PolicyId | Selector | None,
    direction: Direction | int | str | None,
    index: int,
    policy_type: PolicyType | int | str,
    mark: Mark | None,
    if_id: int | None,
    security_context: SecurityContext | str | None,
) -> PolicyId:
    if isinstance(which, (Policy, PolicyId)):
        for field, value, default in (
            ("direction", direction, None),
            ("index", index, 0),
            ("policy_type", policy_type, PolicyType.MAIN),
            ("mark", mark, None),
            ("if_id", if_id, None),
            ("security_context", security_context, None),
        ):
            if value is not default and value != default:
                raise ValidationError(
                    field, None, f"is that of the {type(which).__name__}, and not given beside it"
                )
        return which.id if isinstance(which, Policy) else which
    if which is not None and not isinstance(which, Selector):
        raise ValidationError("which", shown(which), "is not a Policy, PolicyId or Selector")
    if direction is None:
        raise ValidationError("direction", None, "is needed with a selector or an index")
    return PolicyId(
        which,
        direction=direction,
        index=index,
        policy_type=policy_type,
        mark=mark,
        if_id=if_id,
        security_context=security_context,
    )
