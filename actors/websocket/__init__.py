"""WebSocket connections of tasks: what `understudy.ws` and `understudy.aio.ws` share."""
