"""How frameworks write documents and collections, one file for each framework."""
