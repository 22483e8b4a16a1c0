# SPDX-License-Identifier: MIT
"""The same on the floor below: messages as bytes, and the calls of iproute2's libnetlink.

Run it where it does no harm:  unshare -rn python examples/add_one_policy_rtnl.py
"""

from xfrm_ext import Message, Policy, Request, rtnl
from xfrm_ext.codec import select


def main() -> None:
    codec = select()
    with rtnl.open_byproto() as handle:
        message = codec.encode(Request(Message.NEWPOLICY, Policy(direction="in")))
        print("sent", message.hex(" ", 4))
        handle.talk(message, "add policy")
        for block in handle.dump(codec.encode(Request(Message.GETPOLICY)), "dump policies"):
            for reply in rtnl.messages(block):
                print("got ", reply.hex(" ", 4))
                print(codec.decode(reply))
        handle.talk(codec.encode(Request(Message.FLUSHPOLICY)), "flush policies")


if __name__ == "__main__":
    main()
