"""Values and foreign text in a form that a terminal can show."""
