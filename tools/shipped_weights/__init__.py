"""How the weights that ship are made and measured."""
