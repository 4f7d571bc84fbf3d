"""What happens on a click: one controller a task."""
