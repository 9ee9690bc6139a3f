"""Other task runners, each behind the same two calls, in processes of their own."""
