# SPDX-License-Identifier: MIT
"""An invented table of the same shape as the real one, for machines that can't have that.

As many blocks, the same mix of prefix lengths, disjoint and in rising order, and countries in
roughly the real proportions.  The addresses mean nothing.
"""

from __future__ import annotations

import random

from .blocks import BITS, Block

# How many blocks of each prefix length the real table has: the first length, then the counts.
# fmt: off
_LENGTHS: dict[int, tuple[int, tuple[int, ...]]] = {
    4: (7, (
        3, 12, 10, 60, 160, 410, 760, 1570, 2960, 7610, 4400, 6960, 12550, 16650, 24240, 62250,
        52700, 110640, 13450, 19760, 29180, 46410, 68090, 33630, 13490, 33880,
    )),
    6: (13, (
        3, 2, 3, 4, 4, 6, 20, 70, 60, 80, 50, 130, 250, 1990, 22500, 28830, 44050, 16560, 16720,
        48080, 1930, 2370, 2780, 5970, 3850, 4460, 4640, 13540, 4420, 6580, 11550, 17360, 79780,
        14470, 20320, 49880, 2550, 2800, 2820, 3580, 2830, 3490, 4500, 7970, 4230, 5290, 6460,
        8330, 8900, 14570, 17840, 41250, *[380] * 44, 530, 900, 2430, 5470, *[340] * 11, 430, 590,
        1070, 1820, 440,
    )),
}
# fmt: on

# The first address of what is handed out: the whole of IPv4, global unicast (2000::/3) of IPv6.
_ROOT = {4: (0, 0), 6: (1 << 125, 3)}

# The 25 countries with the most blocks, each with its share in thousandths; the rest shares what
# is left.
_SHARES = {
    "US": 162, "EU": 93, "AU": 88, "DE": 76, "GB": 57, "FR": 54, "NL": 39, "SE": 22, "RU": 19,
    "BR": 18, "ES": 16, "CA": 15, "HK": 15, "IN": 15, "IT": 14, "JP": 13, "CH": 12, "PL": 11,
    "AT": 10, "SG": 10, "CN": 10, "IE": 9, "ID": 9, "BE": 9, "FI": 7,
}  # fmt: skip
_OTHERS = (
    "MU CZ TR UA AR ZA CO RO DK NO KR BD MX BG TW PT NZ EE TH VN MY CL AE IL PH RS HU IR GR LT PE "
    "LV PK KZ LU SA SI KE NG GT HR VE BA PA EC SK GE AL HN AM AZ EG UZ SV QA BY CI AO MC KW CY DO "
    "SC MO NI MZ MW BN MD SN IQ CR IS JE KH LB NP MM PR PY MT TZ MA IM GH LI PS MK BO JO GG BH CD "
    "SY AF MN UG BM OM BZ NA UY ME AD LK ZW CM KG DZ PG CU GI ZM LY TN VU LA AX TJ BW TT GP JM BF "
    "CG RW BT FJ MV BS SO YE GU KP CV ET BJ SS MQ GN NC SD RE GA GL KY SL TL VI BB TD TG SZ LR ML "
    "SM GF PF GM LC LS TK NE MR DJ SX SR HT TV KM AG GD WS GY SB BI FO TM AS AW KN AI FK TO FM VC"
)


def table(version: int, seed: int) -> list[Block]:
    """The whole invented table of one address family, the same for the same seed.

    Goes from the shortest prefix to the longest with a list of free nodes of that length: as many
    as needed are drawn at random and become blocks, the others split in two for the next length.
    So blocks never overlap.  Free nodes far beyond the need are forgotten, else their number would
    double with each length.
    """
    draw = random.Random(f"{seed} {version}")
    bits = BITS[version]
    shortest, counts = _LENGTHS[version]
    base, length = _ROOT[version]
    longest = shortest + len(counts) - 1
    space_left = sum(count << (longest - shortest - i) for i, count in enumerate(counts))
    taken: list[tuple[int, int]] = []
    free = [base]
    while length <= longest:
        count = counts[length - shortest] if length >= shortest else 0
        # What the blocks of this and all later lengths need, in nodes of this length.
        need = -(-space_left >> (longest - length))
        free = draw.sample(free, min(len(free), max(need + need // 4, 1024)))
        taken += [(address, length) for address in free[:count]]
        free = free[count:]
        space_left -= count << (longest - length)
        length += 1
        half = 1 << (bits - length) if length <= bits else 0
        free += [address + half for address in free]
    taken.sort()
    others = _OTHERS.split()
    share_of_others = (1000 - sum(_SHARES.values())) / len(others)
    weights = [*_SHARES.values(), *[share_of_others] * len(others)]
    countries = draw.choices([*_SHARES, *others], weights, k=len(taken))
    return [
        Block(version, address, length, country)
        for (address, length), country in zip(taken, countries, strict=True)
    ]
