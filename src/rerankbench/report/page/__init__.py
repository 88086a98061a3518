"""What a report shows: the page, its plots and tables, Markdown, the terminal."""
