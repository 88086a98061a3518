"""Files as ids, texts and grades, whatever their format, with every fault in them at once."""
