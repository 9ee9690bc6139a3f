"""Values and untrusted text in a form that a terminal can show."""
