# SPDX-License-Identifier: MIT
"""Adds one general policy, looks at it, and takes it away again: `ip xfrm policy add dir in`, from Python.

Run it where it does no harm:  unshare -rn python examples/add_one_policy.py
"""

from xfrm_ext import Policy, Session


def main() -> None:
    with Session() as session:
        session.spd.add(Policy(direction="in"))
        for policy in session.spd.dump():
            print(policy)
        session.spd.flush()


if __name__ == "__main__":
    main()
