"""Traces: spans for starts and attempts, where OpenTelemetry is used."""
