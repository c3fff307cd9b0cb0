"""How large a photonic circuit may be, for those who need no numpy to know."""

PHOTONS_MAX = 10
MODES_MAX = 24
