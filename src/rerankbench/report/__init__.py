"""From the files of finished runs to a verdict: arms, paired statistics, costs, one page of evidence."""
