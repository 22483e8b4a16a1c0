# SPDX-License-Identifier: MIT
"""The codec in Python: the reference for the one in C, and what works without it."""

from xfrm_ext.codec.generic import Codec
from xfrm_ext.wire import pure as _wire

codec = Codec(_wire)
encode = codec.encode
decode = codec.decode
decode_event = codec.decode_event
