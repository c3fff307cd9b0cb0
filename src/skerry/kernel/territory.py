"""Territory in a policy: country codes (ISO 3166-1 alpha-2) and groups of countries, by name.

Which country is in which group, since when and by which act is data of the node, with its evidence;
here are only the names, so that a misspelt one is found when the app file is read.
"""

from __future__ import annotations

from skerry.kernel.names import nearest

_CODES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR "
    "BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ "
    "EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW "
    "GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY "
    "KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV "
    "MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY "
    "QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG "
    "TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM "
    "ZW"
)
COUNTRIES = frozenset(_CODES.split())
"""Every country code."""

GROUPS = {
    "EU": "the European Union",
    "EEA": "the European Economic Area",
    "EFTA": "the European Free Trade Association",
    "ADEQUATE": "countries with a full adequacy decision under Article 45 of the GDPR",
}
"""Groups of countries that a policy may name."""

_OTHER_NAMES = {
    "UK": "GB",
    "EUROPE": "EU",
    "EUROPEAN UNION": "EU",
    "USA": "US",
    "GERMANY": "DE",
    "FRANCE": "FR",
    "SWEDEN": "SE",
    "SWITZERLAND": "CH",
    "ADEQUACY": "ADEQUATE",
    "EL": "GR",
}


def is_territory(text: str) -> bool:
    """Tell whether `text` is a country code or the name of a group."""
    return text in COUNTRIES or text in GROUPS


def meant(text: str) -> str:
    """Return a sentence on what a name that is no territory most likely meant."""
    upper = text.strip().upper()
    if is_territory(upper):
        return f"Did you mean {upper}?"
    found = _OTHER_NAMES.get(upper)
    if found is None:
        close = nearest(upper, _OTHER_NAMES)
        found = _OTHER_NAMES[close] if close else nearest(upper, GROUPS)
    if found is not None:
        return f"Did you mean {found}?"
    return f"Groups are {', '.join(GROUPS)}; countries have two capitals, such as SE."
