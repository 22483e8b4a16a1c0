# SPDX-License-Identifier: MIT
"""The codec in C."""

from xfrm_ext.codec.generic import Codec
from xfrm_ext.wire import native as _wire

codec = Codec(_wire)
encode = codec.encode
decode = codec.decode
decode_event = codec.decode_event
