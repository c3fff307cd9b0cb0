"""Quandela's cloud API, for perceval-quandela: linear optics on a simulator."""
