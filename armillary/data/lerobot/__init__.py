"""LeRobot data sets, v3 and v2.1: read, sampled, written."""
