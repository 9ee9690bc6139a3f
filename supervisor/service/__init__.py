"""The service: clients' connections and requests, in the supervisor."""
