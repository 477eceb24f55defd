"""Episodes from one layout to another."""
