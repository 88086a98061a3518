"""From runs without judgements to a verdict: how much arms differ, which pairs to judge, and by whom."""
