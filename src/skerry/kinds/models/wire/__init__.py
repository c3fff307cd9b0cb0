"""The OpenAI-compatible endpoint over HTTP."""
