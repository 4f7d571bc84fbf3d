"""Files and folders as volumes and landmarks, and back."""
