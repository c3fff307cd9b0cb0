"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A machine that runs tests may be busy with others; speed is measured in bench/.
settings.register_profile("skerry", deadline=None)
settings.load_profile("skerry")
