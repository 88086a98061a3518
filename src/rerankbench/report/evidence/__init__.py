"""What a claim rests on: ranked lists, judgements, and the queries that make the difference."""
