"""The policy in force: facts about places, terms compiled to Cedar, and decisions with reasons."""
