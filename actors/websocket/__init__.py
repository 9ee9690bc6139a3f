"""WebSocket connections of tasks: `understudy.ws`, `understudy.aio.ws` and the code that they share."""
