"""Video whose camera is known: RealEstate10K, `transforms.json`, recorded simulators."""
