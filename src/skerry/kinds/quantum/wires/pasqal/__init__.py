"""Pasqal's cloud API, for pasqal-cloud and Pulser on top of it: the twin of a machine of atoms."""
