"""A tabletop with a gripper: `sim.Gripper`, and what it is made of."""
