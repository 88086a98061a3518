"""From finished runs to the verdict, the tables, the plots and the page."""
