"""Sets of coloured points of any number: a small plugin with masks, an unordered axis and two kinds of part."""
