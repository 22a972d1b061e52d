"""What ``make_builtin_face.py`` is made of."""
