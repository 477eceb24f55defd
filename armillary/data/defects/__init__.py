"""What is wrong with a data set, and what would mend it."""
