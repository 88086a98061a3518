"""A language model that judges, or writes queries, within a budget."""
