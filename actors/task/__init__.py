"""The declaration of tasks, their options, and the handles on started tasks."""
