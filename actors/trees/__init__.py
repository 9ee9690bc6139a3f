"""Supervision trees as programs write them down, and what is told of them. The words and defaults are OTP's."""
