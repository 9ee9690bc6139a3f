"""Which task runs where: attempts, dispatch and the pool of workers, in the supervisor."""
