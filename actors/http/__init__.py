"""What HTTP requests trigger: declarations, requests, answers and the checks of signatures."""
