"""What ``make_face_assets.py`` is made of."""
