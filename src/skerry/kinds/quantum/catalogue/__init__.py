"""The catalogue: every device, with dated and sourced figures, prices and calibrations."""
