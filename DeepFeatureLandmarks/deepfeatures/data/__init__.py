"""What is worked on: volumes, landmarks, and what is said of them. No files are read here."""
