"""Words: the facts of a scene, captions told from them, and sentences read back into them."""
