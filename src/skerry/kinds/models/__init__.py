"""Kind models: one OpenAI-compatible endpoint before local models and hosted providers."""
