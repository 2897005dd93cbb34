"""From a source to two sides of accepted, typed rows: reading, the column contract, duplicates, the split."""
