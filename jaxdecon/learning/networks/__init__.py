"""Networks from images to objects, with and without the optics in their wiring."""
