"""How good generated molecules are, each number beside what real and random ones get."""
