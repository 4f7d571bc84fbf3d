"""The slice views of both sides and what is drawn over them."""
