"""What the page shows: its layout, its panels and their state."""
