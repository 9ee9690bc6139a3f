"""The supervisor's decisions. Pure: no clock, socket, process or event loop."""
