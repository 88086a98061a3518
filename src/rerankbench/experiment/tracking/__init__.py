"""What a run leaves behind: result.json, tables, TREC files, MLflow."""
