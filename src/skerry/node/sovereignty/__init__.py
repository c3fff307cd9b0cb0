"""How sovereign a node, a provider or a placement is, as the EU's framework computes it."""
